package hooks

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/limited"
)

// hookFile is the hook's name in the folder of hooks. A hook that was there before keeps
// it, in a folder of its own: husky and others go by the name that they are called with,
// and Node by the end of a file's name.
const hookFile = "pre-push"

// script is the hook. A graphical client or an IDE may start git with a bare PATH, so
// it names the program, in place of AML_TRAIN, and how
// many hooks were there before, in place of KEPT.
//
//go:embed pre-push.sh
var script string

// mark is the line of a hook of ours.
const mark = "# The pre-push hook of aml-train, https://github.com/org/aml-train"

func ours(text []byte) bool { return bytes.Contains(text, []byte("\n"+mark+"\n")) }

// Dir returns the folder that git takes hooks from (git-config(1), core.hooksPath;
// gitrepository-layout(5), hooks).
func Dir(r *git.Repository) string {
	dir, _ := r.Config.Path("core.hookspath")
	switch {
	case dir == "":
		return filepath.Join(r.CommonDir, "hooks")
	case filepath.IsAbs(dir):
		return filepath.Clean(dir)
	}
	return filepath.Join(r.Root, dir)
}

// State is what there is in the place of the hook.
type State struct {
	File      string   // the hook
	Installed bool     // it is ours
	Kept      []string // files that run before ours
	Other     string   // there is a hook, and it is not ours: whose it is, such as "husky's", or "another"
	Rewritten bool     // Other stands where ours was put
	Moved     []string // hooks of ours that a manager has moved aside
	Aside     []string // kept hooks that run no more, and where they lie now
	Shared    bool     // the folder of hooks is that of other repositories too
	Left      string   // ours in the usual folder, from which core.hooksPath leads away; "" for none
	Allowed   bool     // the repository's user lets pushes train
}

// Look tells what there is.
func Look(r *git.Repository) (State, error) {
	p := placeOf(Dir(r))
	s, err := p.look()
	s.Shared, s.Allowed = shared(r, p.dir), Allowed(r)
	if usual := filepath.Join(r.CommonDir, "hooks"); err == nil && usual != filepath.Clean(Dir(r)) {
		if left, err := placeOf(usual).look(); err == nil && (left.Installed || left.Rewritten) {
			s.Left = left.File
		}
	}
	return s, err
}

// look tells what there is in one folder of hooks.
func (p place) look() (State, error) {
	s := State{File: filepath.Join(p.dir, hookFile)}
	kept, err := p.kept()
	if err != nil {
		return s, err
	}
	s.Kept = kept
	if s.Moved, err = p.moved(); err != nil {
		return s, err
	}
	_, err = os.Lstat(s.File)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	text, err := limited.Read(s.File, maxHook)
	var large *limited.TooLargeError // a program of its own
	// A link may lead to what another commit has.
	if err != nil && !errors.As(err, &large) && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if ours(text) {
		s.Installed = true
		return s, nil
	}
	s.Other = "another"
	if m := manager(text); m != "" {
		s.Other = m + "'s"
	}
	_, err = os.Lstat(p.folder(1))
	s.Rewritten = err == nil || len(s.Kept)+len(s.Moved) > 0
	return s, nil
}

// Install puts the hook in its place, before which program is run, and lets pushes of
// this repository train. A hook that is there keeps running, first; what a manager of
// hooks has made of ours is mended. Installing again changes nothing but the program.
func Install(r *git.Repository, program string) (State, error) {
	s, err := Look(r)
	if err != nil {
		return s, err
	}
	p := placeOf(Dir(r))
	if err := p.install(s, program); err != nil {
		return s, fmt.Errorf("the hook cannot be put in its place: %w; "+
			`a line in a hook of yours does the same: aml-train hook run "$@"`, err)
	}
	if s.Left != "" {
		if err := placeOf(filepath.Dir(s.Left)).uninstall(); err != nil {
			return s, err
		}
	}
	if err := allow(r, true); err != nil {
		return s, err
	}
	return Look(r)
}

func (p place) install(s State, program string) error {
	if info, err := os.Stat(p.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("core.hooksPath leads to %s, which is no folder, so that git runs no hook", p.dir)
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	back, err := p.keepAll(s)
	var kept []string
	if err == nil {
		kept, err = p.kept()
	}
	if err == nil {
		fill := strings.NewReplacer("=AML_TRAIN", "="+quote(filepath.ToSlash(program)),
			"-lt KEPT", "-lt "+strconv.Itoa(len(kept)))
		err = write(s.File, []byte(fill.Replace(script)))
	}
	if err != nil {
		return errors.Join(err, back())
	}
	moved, err := p.moved()
	for _, name := range moved {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// Uninstall lets no push of this repository train any more, removes the hook and
// restores what was there before. A hook that is not ours stays.
func Uninstall(r *git.Repository) (State, error) {
	s, err := Look(r)
	if err == nil {
		err = allow(r, false)
	}
	if err != nil {
		return s, err
	}
	dirs := []string{Dir(r)}
	if s.Left != "" {
		dirs = append(dirs, filepath.Dir(s.Left))
	}
	var aside []string
	for _, dir := range dirs {
		p := placeOf(dir)
		if err := p.uninstall(); err != nil {
			return s, err
		}
		aside = append(aside, p.aside()...)
	}
	s, err = Look(r)
	s.Aside = aside
	return s, err
}

// uninstall makes a folder of hooks what it would be without ours.
func (p place) uninstall() error {
	s, err := p.look()
	if err != nil {
		return err
	}
	kept := s.Kept
	if s.Other != "" {
		kept = p.without(kept, s.File)
	}
	// What was kept last is what stood here; and where a manager has moved ours, it
	// would have moved what ours had taken in.
	free := s.Moved
	if s.Other == "" {
		free = append([]string{s.File}, free...)
	}
	for _, name := range free {
		if len(kept) == 0 {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) &&
				!errors.Is(err, syscall.ENOTDIR) {
				return err
			}
			continue
		}
		last := kept[len(kept)-1]
		kept = kept[:len(kept)-1]
		if err := p.move(last, name); err != nil {
			return err
		}
	}
	for _, name := range kept {
		if err := p.move(name, p.free()); err != nil {
			return err
		}
	}
	return p.clear()
}

// write puts a file in its place in whole or not at all.
func write(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".aml-train-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Chmod(f.Name(), 0o755)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// quote writes a word so that a shell passes it on as it is.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
