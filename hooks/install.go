package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/git"
)

// Names of the files in the folder of hooks.
const (
	hookFile = "pre-push"
	keptFile = "pre-push.before-aml-train" // what was there before
)

// mark is the second line of a hook of ours.
const mark = "# The pre-push hook of aml-train, https://github.com/org/aml-train"

// script is the hook. What was there before comes first, with the same arguments,
// standard input and name ($0, which husky reads), and its refusal is the last
// word. %s is the program, quoted for the shell: a graphical client or an IDE may
// start git with a bare PATH.
const script = `#!/bin/sh
` + mark + `
# "aml-train hook uninstall" restores what was here before.
refs=$(cat)
give() { [ -z "$refs" ] || printf '%%s\n' "$refs"; }
before=$(dirname "$0")/` + keptFile + `
if [ -x "$before" ]; then
	IFS= read -r first < "$before" || :
	case $first in
	'#!'*bash*) give | bash -c '. "$0.before-aml-train"' "$0" "$@" ;;
	'#!'*/sh | '#!'*/sh' '* | '#!'*'env sh') give | sh -c '. "$0.before-aml-train"' "$0" "$@" ;;
	*) give | "$before" "$@" ;;
	esac || exit
fi
aml_train=%s
[ -x "$aml_train" ] || aml_train=$(command -v aml-train) || {
	echo "aml-train: the program is gone, so that nothing is trained; install it again, or remove this hook: $0" >&2
	exit 0
}
give | "$aml_train" hook run "$@"
`

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
	File      string // the hook
	Installed bool   // it is ours
	Kept      string // what runs before ours: a file; "" for none
	Other     bool   // there is a hook, and it is not ours
	Shared    bool   // the folder of hooks is that of other repositories too
	Allowed   bool   // the repository's user lets pushes train
}

// Look tells what there is.
func Look(r *git.Repository) (State, error) {
	s := State{File: filepath.Join(Dir(r), hookFile), Shared: shared(r, Dir(r)), Allowed: Allowed(r)}
	text, err := os.ReadFile(s.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return s, err
	case ours(text):
		s.Installed = true
	default:
		s.Other = true
	}
	kept := filepath.Join(Dir(r), keptFile)
	if _, err := os.Lstat(kept); err == nil {
		s.Kept = kept
	}
	return s, nil
}

func ours(text []byte) bool { return bytes.Contains(text, []byte("\n"+mark+"\n")) }

// Install puts the hook in its place, before which program is run, and lets pushes of
// this repository train. A hook that is there keeps running, first. Installing again
// changes nothing but the program.
func Install(r *git.Repository, program string) (State, error) {
	s, err := Look(r)
	if err != nil {
		return s, err
	}
	dir := Dir(r)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	kept := filepath.Join(dir, keptFile)
	if s.Other {
		if s.Kept != "" {
			return s, fmt.Errorf("%s is not aml-train's any more, and %s, which was there before it, is still kept; decide which of them is wanted, remove the other, and install again", s.File, s.Kept)
		}
		// A link to a hook elsewhere moves as a link.
		if err := os.Rename(s.File, kept); err != nil {
			return s, err
		}
		s.Kept, s.Other = kept, false
	}
	if err := write(s.File, fmt.Appendf(nil, script, quote(filepath.ToSlash(program)))); err != nil {
		if s.Kept != "" && !s.Installed {
			err = errors.Join(err, os.Rename(kept, s.File))
		}
		return s, err
	}
	s.Installed = true
	err = allow(r, true)
	s.Allowed = err == nil
	return s, err
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
	s.Allowed = false
	switch {
	case s.Other && s.Kept != "":
		return s, fmt.Errorf("%s is not aml-train's any more, so it stays; what was there before is still kept, in %s", s.File, s.Kept)
	case !s.Installed:
		return s, nil
	case s.Kept != "":
		return State{File: s.File, Other: true, Shared: s.Shared}, os.Rename(s.Kept, s.File)
	}
	return State{File: s.File, Shared: s.Shared}, os.Remove(s.File)
}

// quote writes a word so that a shell passes it on as it is.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
