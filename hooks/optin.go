package hooks

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/git"
)

// A hook that is called trains only where this repository's own user has said so, in the
// repository's own .git/config: a folder of hooks may be shared by every repository of a
// person, a hook manager's settings come with a clone, and both would let a stranger's
// job run on this machine at the next push.

// Key is the setting that lets a push train.
const Key = "aml-train.hook"

// Allowed tells whether the repository's user has opted in. It looks at the file
// .git/config alone, which no clone brings: neither at what that file includes, which
// may lie in the working tree, nor at settings that hold for every repository.
func Allowed(r *git.Repository) bool {
	own, err := r.OwnConfig()
	return err == nil && own.Bool(Key, false)
}

// allow writes down that the repository's user has opted in, or takes it back.
func allow(r *git.Repository, yes bool) error {
	if Allowed(r) == yes {
		return nil
	}
	args := []string{"config", "--local", "--replace-all", Key, "true"}
	if !yes {
		args = []string{"config", "--local", "--unset-all", Key}
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w", strings.Join(args, " "), said(strings.TrimSpace(string(out)), err))
	}
	return nil
}

// said is what a program said, else how it ended.
func said(text string, err error) error {
	if text != "" {
		return errors.New(text)
	}
	return err
}

// shared tells whether a folder of hooks lies outside the repository: core.hooksPath
// leads there, and most often that of the person, for every repository.
func shared(r *git.Repository, dir string) bool {
	for _, own := range []string{r.CommonDir, r.GitDir, r.Root} {
		if rel, err := filepath.Rel(own, dir); err == nil && filepath.IsLocal(rel) {
			return false
		}
	}
	return true
}
