package git

import (
	"fmt"
	"strings"
)

// Module is a submodule as .gitmodules describes it (gitmodules(5)).
type Module struct{ Name, Path, Ignore string }

// Modules reads a .gitmodules file. Of several values for one thing the first counts, as
// git has it, and a path belongs to the submodule that names it last.
func Modules(text string) ([]Module, error) {
	var list []Module
	at := map[string]int{}
	err := parseConfig(text, func(key, value string, hasValue bool) error {
		rest, ok := strings.CutPrefix(key, "submodule.")
		i := strings.LastIndexByte(rest, '.')
		if !ok || i < 0 || !hasValue {
			return nil
		}
		name := rest[:i]
		for part := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == '\\' }) {
			if part == ".." { // it would lead out of .git/modules
				return nil
			}
		}
		n, known := at[name]
		if !known {
			n = len(list)
			at[name], list = n, append(list, Module{Name: name})
		}
		switch m := &list[n]; rest[i+1:] {
		case "path":
			if m.Path == "" && !strings.HasPrefix(value, "-") {
				m.Path = value
			}
		case "ignore":
			if m.Ignore == "" && knownIgnore(value) {
				m.Ignore = value
			}
		}
		return nil
	})
	return list, err
}

// knownIgnore tells whether git knows how much of a submodule to ignore so
// (git-status(1), "--ignore-submodules").
func knownIgnore(value string) bool {
	return value == "none" || value == "untracked" || value == "dirty" || value == "all"
}

// Ignored says which changes of a submodule git status passes over.
type Ignored struct{ All, Dirty, Untracked bool }

// Ignores returns what is ignored of the submodule at a path: what submodule.NAME.ignore
// says in the configuration, else in .gitmodules, else diff.ignoreSubmodules. Without
// one of the first two, files that it does not track are ignored where those of the
// repository are (plain). A value that git does not know is an error, as it is there.
func (c Config) Ignores(list []Module, path string, plain bool) (Ignored, error) {
	value, key := c.Get("diff.ignoresubmodules"), "diff.ignoreSubmodules"
	for _, m := range list {
		if m.Path != path {
			continue
		}
		key = "submodule." + m.Name + ".ignore"
		if e, ok := c.Lookup(key); ok {
			value, plain = e.Value, false
		} else if m.Ignore != "" {
			value, plain = m.Ignore, false
		}
	}
	if value != "" && !knownIgnore(value) {
		return Ignored{}, fmt.Errorf("git configuration: %s is %q; it can be none, untracked, dirty or all", key, value)
	}
	return Ignored{All: value == "all", Dirty: value == "dirty", Untracked: value == "untracked" || plain}, nil
}
