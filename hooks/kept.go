package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// Hooks that were there before lie in folders beside the folder of hooks: .git/hooks has
// .git/hooks.before-aml-train, then .git/hooks.before-aml-train-2. A hook finds there all
// that it found where it was: its own name, what lies beside it (by links that the script
// makes) and above it, and, where it is a link, what that leads to.

// before ends the name of a folder of kept hooks.
const before = ".before-aml-train"

// maxHook bounds what is read of a hook to tell whose it is.
const maxHook = 1 << 20

// place is a folder of hooks.
type place struct {
	dir    string
	linked bool // it is a link, and what lies in it is relative to where that leads
}

func placeOf(dir string) place {
	info, err := os.Lstat(dir)
	return place{dir, err == nil && info.Mode()&fs.ModeSymlink != 0}
}

// target returns where a hook that is a link leads, as it was written in the folder of
// hooks; an error for one that is none.
func (p place) target(name string) (string, error) {
	to, err := os.Readlink(name)
	if p.linked && filepath.Dir(name) != p.dir {
		to = strings.TrimPrefix(to, p.through())
	}
	return to, err
}

// through leads from a folder of kept hooks to what lies in the folder of hooks.
func (p place) through() string { return "../" + filepath.Base(p.dir) + "/" }

// move moves a hook to or from a folder of kept hooks, over what is there.
func (p place) move(from, to string) error {
	target, err := p.target(from)
	if err != nil || !p.linked || filepath.IsAbs(target) {
		return os.Rename(from, to)
	}
	if filepath.Dir(to) != p.dir {
		target = p.through() + target
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// folder returns the n-th folder of kept hooks, from 1.
func (p place) folder(n int) string {
	if n == 1 {
		return p.dir + before
	}
	return fmt.Sprintf("%s%s-%d", p.dir, before, n)
}

// kept lists the hooks that are kept, in the order in which they came here.
func (p place) kept() ([]string, error) {
	var out []string
	// Earlier versions kept one beside ours.
	names := []string{filepath.Join(p.dir, hookFile+before)}
	for n := 1; ; n++ {
		if _, err := os.Lstat(p.folder(n)); err != nil {
			break
		}
		names = append(names, filepath.Join(p.folder(n), hookFile))
	}
	for _, name := range names {
		switch _, err := os.Lstat(name); {
		case err == nil:
			out = append(out, name)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return nil, err
		}
	}
	return out, nil
}

// moved lists the hooks of ours that lie under other names: pre-commit moves what it
// finds to pre-push.legacy, and calls it; lefthook moves it to pre-push.old.
func (p place) moved() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		name := filepath.Join(p.dir, e.Name())
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), hookFile+".") {
			continue
		}
		if text, err := limited.Read(name, maxHook); err == nil && ours(text) {
			out = append(out, name)
		}
	}
	return out, nil
}

// keepAll keeps the hook that stands in our place, in its folder, and returns what
// undoes it.
func (p place) keepAll(s State) (back func() error, err error) {
	back = func() error { return nil }
	kept := s.Kept
	move := func(from, to string) error {
		if err := p.move(from, to); err != nil {
			return err
		}
		undo := back
		back = func() error { return errors.Join(p.move(to, from), undo()) }
		return nil
	}
	if old := filepath.Join(p.dir, hookFile+before); slices.Contains(kept, old) {
		to, err := p.make()
		if err == nil {
			err = move(old, to)
		}
		if err != nil {
			return back, err
		}
		kept = append(slices.DeleteFunc(slices.Clone(kept), func(name string) bool { return name == old }), to)
	}
	if s.Other == "" {
		if len(kept) == 0 {
			p.make() // tells later that ours was here; where it cannot be made, nothing is lost
		}
		return back, nil
	}
	kept = p.without(kept, s.File)
	// pre-commit goes on calling what it has moved, so that lies there.
	legacy := filepath.Join(p.dir, hookFile+".legacy")
	text, _ := limited.Read(s.File, maxHook)
	if len(kept) > 0 && manager(text) == "pre-commit" && slices.Contains(s.Moved, legacy) {
		if err := p.move(kept[0], legacy); err != nil {
			return back, err
		}
	}
	to, err := p.make()
	if err == nil {
		err = move(s.File, to)
	}
	return back, err
}

// without removes those of the kept hooks for which another file stands now: the same,
// or a newer one of the same manager.
func (p place) without(kept []string, file string) []string {
	return slices.DeleteFunc(slices.Clone(kept), func(name string) bool {
		return p.same(name, file) && os.Remove(name) == nil
	})
}

func (p place) same(a, b string) bool {
	la, aerr := p.target(a)
	lb, berr := p.target(b)
	if aerr == nil || berr == nil {
		return la == lb
	}
	ta, aerr := limited.Read(a, maxHook)
	tb, berr := limited.Read(b, maxHook)
	return aerr == nil && berr == nil && (bytes.Equal(ta, tb) || manager(ta) != "" && manager(ta) == manager(tb))
}

// make returns the place for one more kept hook, in a folder that is there.
func (p place) make() (string, error) {
	free := 1
	for n := 1; ; n++ {
		if _, err := os.Lstat(p.folder(n)); err != nil {
			break
		}
		if _, err := os.Lstat(filepath.Join(p.folder(n), hookFile)); err == nil {
			free = n + 1
		}
	}
	if err := os.MkdirAll(p.folder(free), 0o755); err != nil {
		return "", err
	}
	// It may lie in the working tree, whose business it is not.
	err := os.WriteFile(filepath.Join(p.folder(free), ".gitignore"), []byte("*\n"), 0o644)
	return filepath.Join(p.folder(free), hookFile), err
}

// clear removes the folders of kept hooks. What a hook has written beside itself goes
// where it would have written it.
func (p place) clear() error {
	for n := 1; ; n++ {
		entries, err := os.ReadDir(p.folder(n))
		if err != nil {
			return nil
		}
		for _, e := range entries {
			name, there := filepath.Join(p.folder(n), e.Name()), filepath.Join(p.dir, e.Name())
			_, err := os.Lstat(there)
			switch {
			case e.Type()&fs.ModeSymlink != 0, e.Name() == ".gitignore":
				err = os.Remove(name)
			case err == nil && runtime.GOOS == "windows": // where Git's ln makes a copy
				err = os.RemoveAll(name)
			case err != nil:
				err = os.Rename(name, there)
			}
			if err != nil {
				return err
			}
		}
		if err := os.Remove(p.folder(n)); err != nil {
			return err
		}
	}
}

const asideName = hookFile + ".kept-by-aml-train"

// free returns a name for a kept hook whose place another one has.
func (p place) free() string {
	name := filepath.Join(p.dir, asideName)
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); err != nil {
			return name
		}
		name = fmt.Sprintf("%s-%d", filepath.Join(p.dir, asideName), n)
	}
}

// aside lists the kept hooks whose place another one has.
func (p place) aside() []string {
	names, _ := filepath.Glob(filepath.Join(p.dir, asideName+"*"))
	return names
}

// The texts that managers of hooks generate, and write over without asking: a hook that
// was changed by hand is nobody's but its author's.
var managers = []struct {
	name string
	text *lazyregexp.Regexp
}{
	// husky 9, index.js.
	{"husky", lazyregexp.New(`^#!/usr/bin/env sh\r?\n\. "(\$\(dirname (-- )?"\$0"\)|\$\{0%/\*\})/h"\s*$`)},
	// pre-commit, resources/hook-tmpl, is known by its second line.
	{"pre-commit", lazyregexp.New(`(?m)^# File generated by pre-commit: https://pre-commit\.com$`)},
	// lefthook, internal/templates/hook.tmpl.
	{"lefthook", lazyregexp.New(`(?m)^call_lefthook run "pre-push" "\$@"$`)},
	// git-lfs, lfs/hook.go and its earlier versions.
	{"git-lfs", lazyregexp.New(`^#!/bin/sh\n(command -v git-lfs [^\n]*\n)?` +
		`git lfs (pre-push|push --stdin) [^\n;&|]*\n*$`)},
}

// manager tells which manager of hooks has made a hook, "" for none that is known.
func manager(text []byte) string {
	for _, m := range managers {
		if m.text.Match(text) {
			return m.name
		}
	}
	return ""
}
