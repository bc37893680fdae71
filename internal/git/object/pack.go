package object

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/klauspost/compress/zlib"
)

// pack is one pack and its index.
type pack struct {
	path     string
	index    []byte // the .idx file, version 2
	count    int
	modified int64

	open func() ([]byte, error) // the .pack file
	free []func()
}

// The parts of an index of version 2 (gitformat-pack(5), "Version 2 pack-*.idx").
const (
	idxHeader = 8
	idxNames  = idxHeader + 256*4
)

// openPack opens a pack by its index. Where either is not there, the error is
// fs.ErrNotExist.
func openPack(index string) (*pack, error) {
	info, err := os.Stat(index)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(strings.TrimSuffix(index, ".idx") + ".pack"); err != nil {
		return nil, err
	}
	text, free, err := mapFile(index)
	if err != nil {
		return nil, err
	}
	p := &pack{path: strings.TrimSuffix(index, ".idx") + ".pack", index: text, modified: info.ModTime().UnixNano(),
		free: []func(){free}}
	if len(text) < idxNames+40 || !bytes.Equal(text[:8], []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}) {
		free()
		return nil, ErrDamaged
	}
	p.count = int(binary.BigEndian.Uint32(text[idxNames-4:]))
	for i := 1; i < 256; i++ {
		if p.fanout(i) < p.fanout(i-1) {
			free()
			return nil, ErrDamaged
		}
	}
	if p.count > (len(text)-idxNames-40)/28 {
		free()
		return nil, ErrDamaged
	}
	var mu sync.Mutex
	var data []byte
	p.open = func() ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if data != nil {
			return data, nil
		}
		text, free, err := mapFile(p.path)
		if err != nil {
			return nil, err
		}
		if len(text) < 32 || string(text[:4]) != "PACK" {
			free()
			return nil, ErrDamaged
		}
		p.free = append(p.free, free)
		data = text
		return data, nil
	}
	return p, nil
}

func (p *pack) close() {
	for _, free := range p.free {
		free()
	}
}

// fanout returns how many names start with a byte up to i.
func (p *pack) fanout(i int) int {
	return int(binary.BigEndian.Uint32(p.index[idxHeader+i*4:]))
}

// find returns the place of an object in the pack.
func (p *pack) find(id plumbing.Hash) (int64, bool) {
	lo, hi := 0, p.fanout(int(id[0]))
	if id[0] > 0 {
		lo = p.fanout(int(id[0]) - 1)
	}
	i := lo + sort.Search(hi-lo, func(i int) bool {
		at := idxNames + (lo+i)*20
		return bytes.Compare(p.index[at:at+20], id[:]) >= 0
	})
	if i == hi || !bytes.Equal(p.index[idxNames+i*20:idxNames+i*20+20], id[:]) {
		return 0, false
	}
	offsets := idxNames + p.count*24
	at := binary.BigEndian.Uint32(p.index[offsets+i*4:])
	if at&0x80000000 == 0 {
		return int64(at), true
	}
	large := offsets + p.count*4 + int(at&0x7fffffff)*8
	if large+8 > len(p.index) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(p.index[large:])), true
}

// header is the start of a packed object.
type header struct {
	kind   plumbing.ObjectType
	size   int64 // of the object, of the delta where it is one
	body   []byte
	base   int64         // where the base stands, for an OFSDeltaObject
	baseID plumbing.Hash // its id, for a REFDeltaObject
}

// header reads the start of the object at that place (gitformat-pack(5), "Object
// types", "Size encoding", "Deltified representation").
func (p *pack) header(at int64) (h header, err error) {
	data, err := p.open()
	if err != nil {
		return h, err
	}
	if at < 12 || at >= int64(len(data))-20 {
		return h, ErrDamaged
	}
	b := data[at : len(data)-20]
	h.kind, h.size = plumbing.ObjectType(b[0]>>4&7), int64(b[0]&15)
	i := 1
	for shift := 4; b[i-1]&0x80 != 0; shift += 7 {
		if i == len(b) || shift > 56 {
			return h, ErrDamaged
		}
		h.size |= int64(b[i]&0x7f) << shift
		i++
	}
	switch h.kind {
	case plumbing.OFSDeltaObject:
		back := int64(0)
		for first := true; ; first = false {
			if i == len(b) || back > int64(len(data)) {
				return h, ErrDamaged
			}
			c := b[i]
			i++
			if !first {
				back = (back + 1) << 7
			}
			back |= int64(c & 0x7f)
			if c&0x80 == 0 {
				break
			}
		}
		if back <= 0 || back > at {
			return h, ErrDamaged
		}
		h.base = at - back
	case plumbing.REFDeltaObject:
		if len(b) < i+20 {
			return h, ErrDamaged
		}
		copy(h.baseID[:], b[i:])
		i += 20
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	default:
		return h, ErrDamaged
	}
	h.body = b[i:]
	return h, nil
}

// deltaBase returns where the base of a delta is packed. A REF_DELTA's may lie in
// another pack.
func (s *Store) deltaBase(p *pack, h header) (*pack, int64, error) {
	if h.kind == plumbing.OFSDeltaObject {
		return p, h.base, nil
	}
	if at, ok := p.find(h.baseID); ok {
		return p, at, nil
	}
	if q, at, ok := s.find(h.baseID); ok {
		return q, at, nil
	}
	return nil, 0, ErrDamaged
}

// packedSize returns the kind and size of a packed object. A delta says at its
// start how large its object is; the kind is that of the end of its chain.
func (s *Store) packedSize(p *pack, at int64) (plumbing.ObjectType, int64, error) {
	size := int64(-1)
	for range maxChain {
		h, err := p.header(at)
		if err != nil {
			return 0, 0, err
		}
		if !h.kind.IsDelta() {
			if size < 0 {
				size = h.size
			}
			return h.kind, size, nil
		}
		if size < 0 {
			if size, err = resultSize(h); err != nil {
				return 0, 0, err
			}
		}
		if p, at, err = s.deltaBase(p, h); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, ErrDamaged
}

// maxChain is more than any chain of deltas has: git makes them 50 long, and at
// most 4,095.
const maxChain = 5000

func resultSize(h header) (int64, error) {
	z, err := inflate(bytes.NewReader(h.body))
	if err != nil {
		return 0, ErrDamaged
	}
	defer z.Close()
	var start [20]byte
	n, err := io.ReadFull(z, start[:min(int64(len(start)), h.size)])
	if err != nil {
		return 0, ErrDamaged
	}
	_, rest, ok := varint(start[:n])
	if !ok {
		return 0, ErrDamaged
	}
	size, _, ok := varint(rest)
	if !ok {
		return 0, ErrDamaged
	}
	return size, nil
}

// varint reads a size at the start of a delta: seven bits a byte, the lowest first.
func varint(b []byte) (int64, []byte, bool) {
	v := int64(0)
	for i, c := range b {
		if i == 9 {
			break
		}
		v |= int64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

// openPacked returns the content of a packed object.
func (s *Store) openPacked(p *pack, at int64) (io.ReadCloser, plumbing.ObjectType, int64, error) {
	h, err := p.header(at)
	if err != nil {
		return nil, 0, 0, err
	}
	if !h.kind.IsDelta() {
		z, err := inflate(bytes.NewReader(h.body))
		if err != nil {
			return nil, 0, 0, ErrDamaged
		}
		return &exact{z, h.size, nil}, h.kind, h.size, nil
	}
	kind, text, err := s.unpack(p, at, MaxWhole)
	return io.NopCloser(bytes.NewReader(text)), kind, int64(len(text)), err
}

// maxWork is the most, in bytes, that is written to make one object of a chain of
// deltas: each of them may be as large as the object, and a few bytes long.
const maxWork = 64 << 30

// unpack returns a packed object as a whole, of at most that many bytes. Of its chain
// of deltas one base, one delta and what comes of them are in memory at a time.
func (s *Store) unpack(p *pack, at, most int64) (plumbing.ObjectType, []byte, error) {
	type link struct {
		place
		delta header
	}
	var chain []link
	kind, text, ok := s.bases.get(p, at)
	for !ok {
		h, err := p.header(at)
		if err != nil {
			return 0, nil, err
		}
		if !h.kind.IsDelta() {
			kind = h.kind
			if text, err = h.content(allowed(len(chain), most)); err != nil {
				return 0, nil, err
			}
			break
		}
		if len(chain) == maxChain {
			return 0, nil, ErrDamaged
		}
		chain = append(chain, link{place{p, at}, h})
		if p, at, err = s.deltaBase(p, h); err != nil {
			return 0, nil, err
		}
		kind, text, ok = s.bases.get(p, at)
	}
	work := int64(0)
	for i := len(chain) - 1; i >= 0; i-- {
		s.bases.put(p, at, kind, text)
		p, at = chain[i].p, chain[i].at
		delta, err := chain[i].delta.content(MaxWhole)
		if err != nil {
			return 0, nil, err
		}
		if text, err = patch(text, delta, allowed(i, most)); err != nil {
			return 0, nil, err
		}
		if work += int64(len(text)); work > maxWork {
			return 0, nil, tooLarge(maxWork)
		}
	}
	if int64(len(text)) > most { // one that was kept
		return 0, nil, tooLarge(most)
	}
	return kind, text, nil
}

// allowed is the most bytes that a step of a chain may have that far above its end,
// where the object itself may have most.
func allowed(above int, most int64) int64 {
	if above == 0 {
		return most
	}
	return MaxWhole
}

// content inflates what follows the header, of at most that many bytes.
func (h header) content(most int64) ([]byte, error) {
	if h.size > most {
		return nil, tooLarge(most)
	}
	z, err := inflate(bytes.NewReader(h.body))
	if err != nil {
		return nil, ErrDamaged
	}
	r := &exact{z, h.size, nil}
	defer r.Close()
	text, err := readAll(r, h.size)
	if err != nil {
		return nil, ErrDamaged
	}
	return text, nil
}

// patch applies a delta (gitformat-pack(5), "Deltified representation").
// The result has at most that many bytes.
func patch(base, delta []byte, most int64) ([]byte, error) {
	from, delta, ok := varint(delta)
	if !ok || from != int64(len(base)) {
		return nil, ErrDamaged
	}
	size, delta, ok := varint(delta)
	if !ok || size < 0 {
		return nil, ErrDamaged
	}
	if size > most {
		return nil, tooLarge(most)
	}
	out := make([]byte, 0, min(size, 1<<20))
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		switch {
		case op == 0:
			return nil, ErrDamaged
		case op&0x80 == 0:
			n := int(op)
			if n > len(delta) {
				return nil, ErrDamaged
			}
			out = append(out, delta[:n]...)
			delta = delta[n:]
		default:
			var field [7]byte
			for i := range field {
				if op&(1<<i) != 0 {
					if len(delta) == 0 {
						return nil, ErrDamaged
					}
					field[i] = delta[0]
					delta = delta[1:]
				}
			}
			at := uint64(binary.LittleEndian.Uint32(field[:4]))
			n := uint64(field[4]) | uint64(field[5])<<8 | uint64(field[6])<<16
			if n == 0 {
				n = 0x10000
			}
			if at+n > uint64(len(base)) {
				return nil, ErrDamaged
			}
			out = append(out, base[at:at+n]...)
		}
		if int64(len(out)) > size {
			return nil, ErrDamaged
		}
	}
	if int64(len(out)) != size {
		return nil, ErrDamaged
	}
	return out, nil
}

// cache keeps objects that others are deltas against: the trees of a commit are
// often one long chain.
type cache struct {
	mu    sync.Mutex
	bytes int
	held  map[place]base
}

type place struct {
	p  *pack
	at int64
}

type base struct {
	kind plumbing.ObjectType
	text []byte
}

const (
	cacheBytes = 64 << 20
	cacheable  = 1 << 20 // a larger one would drive out too many
)

func (c *cache) get(p *pack, at int64) (plumbing.ObjectType, []byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.held[place{p, at}]
	return o.kind, o.text, ok
}

func (c *cache) put(p *pack, at int64, kind plumbing.ObjectType, text []byte) {
	if len(text) > cacheable {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.held[place{p, at}]; ok {
		return
	}
	if c.held == nil || c.bytes+len(text) > cacheBytes {
		c.held, c.bytes = map[place]base{}, 0
	}
	c.held[place{p, at}] = base{kind, text}
	c.bytes += len(text)
}

// inflaters are kept because each has tables of 40 kB.
var inflaters sync.Pool

type inflater struct{ io.ReadCloser }

func inflate(r io.Reader) (io.ReadCloser, error) {
	if kept, ok := inflaters.Get().(*inflater); ok {
		return kept, kept.ReadCloser.(zlib.Resetter).Reset(r, nil)
	}
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, err
	}
	return &inflater{z}, nil
}

// Close gives the inflater back. It is not used afterwards.
func (i *inflater) Close() error {
	err := i.ReadCloser.Close()
	inflaters.Put(i)
	return err
}
