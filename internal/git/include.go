package git

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/limited"
)

// maxIncludes is how deep files may include each other, as in git.
const maxIncludes = 10

// include reads the file that an entry of the file from includes, where it does
// (git-config(1), "Includes" and "Conditional includes").
func (l *loader) include(e Entry, from string, depth int) error {
	if e.Key != "include.path" {
		condition, ok := strings.CutPrefix(e.Key, "includeif.")
		if !ok {
			return nil
		}
		if condition, ok = strings.CutSuffix(condition, ".path"); !ok || !l.holds(condition, from) {
			return nil
		}
	}
	if !e.HasValue {
		return fmt.Errorf("%s has no value", e.Key)
	}
	path, err := expand(e.Value)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(path) {
		if from == "" {
			return fmt.Errorf("%s is %q; on a command line an included file has to be an absolute path", e.Key, e.Value)
		}
		path = filepath.Dir(from) + string(filepath.Separator) + path
		if !strings.ContainsRune(from, filepath.Separator) {
			path = e.Value
		}
	}
	if depth >= maxIncludes {
		if _, err := os.Stat(path); err != nil {
			return nil
		}
		return fmt.Errorf("files include each other more than %d deep, the last one %s", maxIncludes, path)
	}
	if strings.HasPrefix(e.Key, "includeif.hasconfig:") {
		l.noURLs++
		defer func() { l.noURLs-- }()
	}
	return l.file(source{path: path}, depth+1)
}

// holds tells whether a condition does. One that is not known never does.
func (l *loader) holds(condition, from string) bool {
	kind, pattern, ok := strings.Cut(condition, ":")
	if !ok {
		return false
	}
	if l.repository.GitDir == "" && kind != "hasconfig" {
		return false // there is no repository yet
	}
	switch kind {
	case "gitdir":
		return l.inGitDir(pattern, from, false)
	case "gitdir/i":
		return l.inGitDir(pattern, from, true)
	case "onbranch":
		branch := l.repository.branch()
		return branch != "" && ignore.WildMatch(below(pattern), branch, false)
	case "hasconfig":
		glob, ok := strings.CutPrefix(pattern, "remote.*.url:")
		if !ok {
			return false
		}
		if l.urls == nil {
			l.remoteURLs = true
			return true // so that what it includes is looked through for such URLs
		}
		for _, url := range l.urls {
			if ignore.WildMatch(glob, url, false) {
				return true
			}
		}
	}
	return false
}

// below lets a pattern that ends in "/" match everything below it.
func below(pattern string) string {
	if strings.HasSuffix(pattern, "/") {
		return pattern + "**"
	}
	return pattern
}

// inGitDir tells whether the repository's git folder is one that the pattern names, by
// its real path or by the one under which it was found.
func (l *loader) inGitDir(pattern, from string, ignoreCase bool) bool {
	prefix := 0 // of the pattern, which is no pattern
	switch {
	case strings.HasPrefix(pattern, "~"):
		home, err := expand(pattern)
		if err != nil {
			return false
		}
		// The home folder itself goes by its real path.
		rest := pattern[1:]
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			root := strings.TrimSuffix(home, filepath.FromSlash(strings.TrimRight(rest[i:], "/")))
			if real, err := filepath.EvalSymlinks(root); err == nil {
				root = real
			}
			pattern = filepath.ToSlash(root) + rest[i:]
		} else {
			pattern = filepath.ToSlash(home)
		}
	case strings.HasPrefix(pattern, "./"):
		if from == "" {
			return false
		}
		real, err := filepath.EvalSymlinks(from)
		if err != nil {
			return false
		}
		dir := filepath.ToSlash(filepath.Dir(real))
		pattern, prefix = strings.TrimSuffix(dir, "/")+pattern[1:], len(strings.TrimSuffix(dir, "/"))+1
	case !filepath.IsAbs(filepath.FromSlash(pattern)):
		pattern = "**/" + pattern
	}
	pattern = below(pattern)
	names := []string{l.repository.GitDir}
	if real, err := filepath.EvalSymlinks(l.repository.GitDir); err == nil {
		names = []string{real, l.repository.GitDir}
	}
	for _, name := range names {
		name = filepath.ToSlash(name)
		if len(name) < prefix {
			continue
		}
		same := name[:prefix] == pattern[:prefix] || ignoreCase && strings.EqualFold(name[:prefix], pattern[:prefix])
		if same && ignore.WildMatch(pattern[prefix:], name[prefix:], ignoreCase) {
			return true
		}
	}
	return false
}

// branch is the short name of the branch that is checked out, also one without a
// commit; "" where HEAD is detached.
func (r *Repository) branch() string {
	text, err := limited.Read(filepath.Join(r.GitDir, "HEAD"), refLimit)
	if err != nil {
		if to, lerr := os.Readlink(filepath.Join(r.GitDir, "HEAD")); lerr == nil && errors.Is(err, os.ErrNotExist) {
			text = []byte("ref: " + to)
		}
	}
	ref, ok := strings.CutPrefix(string(text), "ref:")
	if !ok {
		return ""
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(ref), "refs/heads/")
	if !ok {
		return ""
	}
	return name
}
