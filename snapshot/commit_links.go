package snapshot

import (
	"bytes"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// checkLinks refuses the links that a working tree's would be refused for.
func (c *committed) checkLinks(s *Snapshot) error {
	for i := range s.Files {
		f := &s.Files[i]
		if f.Mode != filemode.Symlink {
			continue
		}
		text, err := f.objects.Read(f.OID, plumbing.BlobObject, maxLink)
		if err != nil {
			return explainMissing(c.repo, f.Path, err)
		}
		if err := c.follow(s, f.Path, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// follow goes where a link leads, through links on the way.
func (c *committed) follow(s *Snapshot, link, text string) error {
	var at []string // the folder reached so far
	if i := strings.LastIndexByte(link, '/'); i >= 0 {
		at = strings.Split(link[:i], "/")
	}
	rest := strings.Split(text, "/")
	if strings.HasPrefix(text, "/") || filepath.IsAbs(text) {
		return leadsOut(link, text, ".amlignore")
	}
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			if len(at) == 0 {
				return leadsOut(link, text, ".amlignore")
			}
			at = at[:len(at)-1]
			continue
		case hidden(part):
			return leadsInto(link, text, part, ".amlignore")
		}
		at = append(at[:len(at):len(at)], part)
		f := s.Find(strings.Join(at, "/"))
		if f == nil || f.Mode != filemode.Symlink {
			continue
		}
		if hops++; hops > 40 {
			return nil // a loop, which leads nowhere
		}
		next, err := f.objects.Read(f.OID, plumbing.BlobObject, maxLink)
		if err != nil {
			return explainMissing(c.repo, f.Path, err)
		}
		if bytes.HasPrefix(next, []byte("/")) {
			return leadsOut(link, text, ".amlignore")
		}
		at = at[:len(at)-1]
		rest = append(strings.Split(string(next), "/"), rest...)
	}
	return nil
}

// maxLink is more than a symbolic link can say on any system, in bytes.
const maxLink = 1 << 16
