package metricfiles

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxRecord is the largest record, in bytes, that is looked into: one of scalars has some
// hundred, one of an image may have megabytes.
const maxRecord = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a TFRecord (tensorflow/core/lib/hash/crc32c.h, Mask).
func masked(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// readEvents reads the scalars of an event file, as TensorFlow, PyTorch and tensorboardX
// write them: TFRecords (tensorflow/core/lib/io/record_writer.h) of Event messages
// (tensorflow/core/util/event.proto). One that was being written when the run ended stops
// within a record.
func readEvents(r *reading, f File) (values []Value, err error) {
	file, err := open(f)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in := bufio.NewReaderSize(io.LimitReader(file, maxEvents), 1<<20)
	e := &events{plugins: map[string]string{}, names: map[string]string{}}
	var head [12]byte
	buf := make([]byte, 0, 4096)
	damaged := func(at int64) ([]Value, error) {
		return e.values, fmt.Errorf("%s: damaged at byte %d; what stands before was read", f.Path, at)
	}
	for at := int64(0); len(e.values) <= r.room; {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return e.values, ended(f, err)
		}
		n := binary.LittleEndian.Uint64(head[:8])
		if masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || n > maxEvents {
			return damaged(at)
		}
		if n > maxRecord {
			if _, err := io.CopyN(io.Discard, in, int64(n)+4); err != nil {
				return e.values, ended(f, err)
			}
			at += 12 + int64(n) + 4
			continue
		}
		if uint64(cap(buf)) < n+4 {
			buf = make([]byte, 0, n+4)
		}
		record := buf[:n+4]
		if _, err := io.ReadFull(in, record); err != nil {
			return e.values, ended(f, err)
		}
		if masked(record[:n]) != binary.LittleEndian.Uint32(record[n:]) || e.event(record[:n]) != nil {
			return damaged(at)
		}
		at += 12 + int64(n) + 4
	}
	return e.values, nil
}

// ended is nil where a file ends, be it within a record.
func ended(f File, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", f.Path, cause(err))
}

// events collects the scalars of event messages.
type events struct {
	values  []Value
	plugins map[string]string // of a tag; only its first value says it
	names   map[string]string // a tag's bytes -> the one string that all its values share
}

var errWire = errors.New("no protocol buffer")

// fields calls do for each field of a message.
func fields(b []byte, do func(num protowire.Number, kind protowire.Type, value []byte, bits uint64) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var value []byte
		var bits uint64
		switch kind {
		case protowire.VarintType:
			bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			bits = uint64(v)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return errWire
		}
		if err := do(num, kind, value, bits); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// event reads an Event: wall_time 1, step 2, summary 5, whose value 1 is repeated.
func (e *events) event(b []byte) error {
	var step, time int64
	var summary []byte
	err := fields(b, func(num protowire.Number, kind protowire.Type, value []byte, bits uint64) error {
		switch {
		case num == 1 && kind == protowire.Fixed64Type:
			if s := math.Float64frombits(bits); s > 0 && s < 1e12 {
				time = int64(s * 1000)
			}
		case num == 2 && kind == protowire.VarintType:
			step = int64(bits)
		case num == 5 && kind == protowire.BytesType:
			summary = value
		}
		return nil
	})
	if err != nil || summary == nil {
		return err
	}
	return fields(summary, func(num protowire.Number, kind protowire.Type, value []byte, _ uint64) error {
		if num != 1 || kind != protowire.BytesType {
			return nil
		}
		return e.value(value, step, time)
	})
}

// value reads a Summary.Value: tag 1, simple_value 2, tensor 8, and metadata 9, whose
// plugin_data 1 has a plugin_name 1.
func (e *events) value(b []byte, step, time int64) error {
	var tag, tensor []byte
	plugin, simple, found := "", 0.0, false
	err := fields(b, func(num protowire.Number, kind protowire.Type, value []byte, bits uint64) error {
		switch {
		case num == 1 && kind == protowire.BytesType:
			tag = value
		case num == 2 && kind == protowire.Fixed32Type:
			simple, found = float64(math.Float32frombits(uint32(bits))), true
		case num == 8 && kind == protowire.BytesType:
			tensor = value
		case num == 9 && kind == protowire.BytesType:
			return fields(value, func(num protowire.Number, kind protowire.Type, value []byte, _ uint64) error {
				if num != 1 || kind != protowire.BytesType {
					return nil
				}
				return fields(value, func(num protowire.Number, kind protowire.Type, value []byte, _ uint64) error {
					if num == 1 && kind == protowire.BytesType {
						plugin = string(value)
					}
					return nil
				})
			})
		}
		return nil
	})
	if err != nil || len(tag) == 0 || !found && tensor == nil {
		return err
	}
	name, known := e.names[string(tag)]
	if !known {
		name = string(tag)
		e.names[name] = name
	}
	if plugin != "" {
		e.plugins[name] = plugin
	}
	if !found {
		if e.plugins[name] != "scalars" {
			return nil
		}
		if simple, found, err = scalar(tensor); err != nil || !found {
			return err
		}
	}
	e.values = append(e.values, Value{Name: name, Value: simple, Step: step, Time: time})
	return nil
}

// scalar reads a TensorProto of one number: dtype 1 (1 is float, 2 double),
// tensor_content 4, float_val 5, double_val 6.
func scalar(b []byte) (v float64, ok bool, err error) {
	kind := uint64(0)
	err = fields(b, func(num protowire.Number, wire protowire.Type, value []byte, bits uint64) error {
		switch {
		case num == 1 && wire == protowire.VarintType:
			kind = bits
		case num == 5 && wire == protowire.Fixed32Type, num == 5 && len(value) == 4, num == 4 && kind == 1 &&
			len(value) == 4:
			if value != nil {
				bits = uint64(binary.LittleEndian.Uint32(value))
			}
			v, ok = float64(math.Float32frombits(uint32(bits))), true
		case num == 6 && wire == protowire.Fixed64Type, num == 6 && len(value) == 8, num == 4 && kind == 2 &&
			len(value) == 8:
			if value != nil {
				bits = binary.LittleEndian.Uint64(value)
			}
			v, ok = math.Float64frombits(bits), true
		}
		return nil
	})
	return v, ok, err
}
