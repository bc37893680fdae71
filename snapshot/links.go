package snapshot

import (
	"fmt"
	"path/filepath"
	"strings"
)

// checkLink refuses a symbolic link that leads to something which may not leave
// this machine: what lies outside the source directory, and the git directory,
// where a checkout keeps its credentials.
func (w *walker) checkLink(p string) error {
	name := filepath.Join(w.dir, filepath.FromSlash(p))
	text, err := linkText(name)
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(name)
	if err != nil || target == name { // dangling, a loop, or no link here: what it says decides
		target = filepath.FromSlash(text)
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
	}
	rel, err := filepath.Rel(w.dir, target)
	if err == nil && filepath.IsLocal(rel) {
		for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
			if hidden(part) {
				return leadsInto(p, text, part, w.ignoreFile())
			}
		}
		return nil
	}
	return leadsOut(p, text, w.ignoreFile())
}

// hidden tells whether a file or folder of that name never travels.
func hidden(name string) bool { return strings.EqualFold(name, ".git") || name == homeDir }

func leadsInto(p, text, part, ignoreFile string) error {
	return fmt.Errorf("snapshot: the link %s leads into %s, which never travels; %s leave it out with a line in %s", p,
		part, instead(p, text, "remove the link or"), ignoreFile)
}

func leadsOut(p, text, ignoreFile string) error {
	return fmt.Errorf("snapshot: the link %s leads out of the source directory, to %s; %s leave it out with "+
		"a line in %s",
		p, text, instead(p, text, "copy the file there, make the source directory wider (--source-directory), or"),
		ignoreFile)
}
