package snapshot

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestDamage damages random files of a repository. A snapshot of the working tree, one of
// a commit, and what git status shows are then as they were, or as git has them of the
// damaged repository, or an error names the repository's file; no other answer, and no
// advice to fetch what is not missing.
func TestDamage(t *testing.T) {
	isolate(t)
	cases, first := testenv.Cases(2000), testenv.Seed()
	templates := damageTemplates(t)
	same, gits, named := 0, 0, 0
	for i := range cases {
		c := &damageCase{t: t, r: rand.New(rand.NewPCG(uint64(first+i), 19)), seed: first + i}
		of := templates[c.r.IntN(len(templates))]
		base, err := os.MkdirTemp(memory(), "damage")
		require.NoError(t, err)
		c.root = filepath.Join(base, "r")
		require.NoError(t, exec.Command("cp", "-a", of.root, c.root).Run())
		c.damage()
		for _, ask := range questions {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := ask.ours(c.root)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), c)
			switch {
			// a branch that is not there
			case err != nil && strings.Contains(err.Error(), "names no commit of "+c.root):
				_, gitErr := ask.git(c.root)
				require.Error(t, gitErr, "%s: %s: %v", c, ask.name, err)
			case err != nil:
				named++
				require.True(t, strings.Contains(err.Error(), filepath.Join(c.root, ".git")), "%s: %v", c, err)
				require.NotContains(t, err.Error(), "git fetch gets", c)
			case got == of.answers[ask.name]:
				same++
			default:
				gits++
				want, err := ask.git(c.root)
				if err != nil && got == "true" { // what differs was found before what git stumbles over
					break
				}
				require.NoError(t, err, "%s: %s: %s", c, ask.name, got)
				if got == "true" && strings.Contains(c.String(), ".git/index ") {
					break // git believes the trees that a damaged index keeps beside its entries
				}
				require.Equal(t, want, got, "%s: %s", c, ask.name)
			}
		}
		require.NoError(t, os.RemoveAll(base))
	}
	t.Logf("%d as before, %d as git has it, %d named", same, gits, named)
	require.Greater(t, named, cases/4)
	require.Greater(t, same, cases/4)
	require.Empty(t, inMemory(t, "damage"), "packs that are still open")
}

// questions are what is asked of a damaged repository, of this package and of git.
var questions = []struct {
	name string
	ours func(root string) (string, error)
	git  func(root string) (string, error)
}{
	{"snapshot", func(root string) (string, error) {
		s, err := Take(context.Background(), root, Options{})
		if err != nil {
			return "", err
		}
		defer s.Close()
		return s.ID, nil
	}, func(root string) (string, error) {
		return output(root, "git add -A && git write-tree")
	}},
	{"commit", func(root string) (string, error) {
		s, err := TakeCommit(context.Background(), root, "HEAD", Options{})
		if err != nil {
			return "", err
		}
		defer s.Close()
		return s.ID, nil
	}, func(root string) (string, error) {
		return output(root, "git rev-parse 'HEAD^{tree}'")
	}},
	{"dirty", func(root string) (string, error) {
		dirty, err := Dirty(context.Background(), nil, root)
		return fmt.Sprint(dirty), err
	}, func(root string) (string, error) {
		return output(root,
			`out=$(git --no-optional-locks status --porcelain) && if [ -n "$out" ]; then echo true; else echo false; fi`)
	}},
}

func output(dir, script string) (string, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
}

type damageTemplate struct {
	root    string
	answers map[string]string
}

// damageTemplates are repositories whose objects and references are kept in every way.
func damageTemplates(t *testing.T) (list []damageTemplate) {
	for _, how := range []string{"true", "git gc -q", "git gc -q && echo 3 > f && git commit -qam 3 && git checkout " +
		"-q -b topic",
		"git repack -q -a -d -f --depth=50 && git update-index --index-version 4",
		"git update-index --split-index && echo 4 > d/e && git add d/e",
		"git gc -q && mkdir .git/borrowed && mv .git/objects/pack .git/borrowed/ && echo ../borrowed > " +
			".git/objects/info/alternates"} {
		root := filepath.Join(t.TempDir(), "r")
		require.NoError(t, os.Mkdir(root, 0o755))
		_, err := output(root,
			`git init -q -b main --template= && mkdir -p d .git/info .git/objects/info && seq 2000 > large && echo 1 > f && echo 1 > d/e && printf 'ignored\n' > .gitignore &&
			git config user.name a && git config user.email a@b && git add -A && git commit -q -m 1 && echo more >> large && echo 2 > f && git commit -q -a -m 2 && git tag -a -m v v1 && touch ignored && `+

				how)
		require.NoError(t, err)
		of := damageTemplate{root, map[string]string{}}
		for _, ask := range questions {
			of.answers[ask.name], err = ask.ours(root)
			require.NoError(t, err)
			if ask.name != "snapshot" { // that would write
				want, err := ask.git(root)
				require.NoError(t, err)
				require.Equal(t, want, of.answers[ask.name])
			}
		}
		list = append(list, of)
	}
	return list
}

type damageCase struct {
	t    *testing.T
	r    *rand.Rand
	seed int
	root string
	did  []string
}

func (c *damageCase) String() string { return fmt.Sprintf("seed %d: %v", c.seed, c.did) }

// damage does something to one file of the repository, or to two.
func (c *damageCase) damage() {
	var files []string
	require.NoError(c.t, filepath.WalkDir(filepath.Join(c.root, ".git"),
		func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, name)
			}
			return err
		}))
	for range 1 + c.r.IntN(2) {
		name := pick(c.r, files...)
		text, err := os.ReadFile(name)
		if err != nil { // gone by now
			continue
		}
		rel, _ := filepath.Rel(c.root, name)
		os.Chmod(name, 0o644)
		how := c.r.IntN(8)
		c.did = append(c.did, fmt.Sprintf("%s (%d bytes): %d", rel, len(text), how))
		switch {
		case how < 4 && len(text) > 0:
			for range 1 + c.r.IntN(3) {
				text[c.r.IntN(len(text))] ^= byte(1 << c.r.IntN(8))
			}
		case how == 4:
			text = text[:c.r.IntN(len(text)+1)]
		case how == 5:
			text = nil
		case how == 6:
			text = slices.Concat(text[:len(text)/2], []byte("damage"), text[len(text)/2:])
		default:
			os.Remove(name)
			if c.r.IntN(2) == 0 {
				os.Mkdir(name, 0o755)
			}
			continue
		}
		require.NoError(c.t, os.WriteFile(name, text, 0o644))
	}
}

// inMemory lists the files in memory whose names contain a text.
func inMemory(t *testing.T, name string) (list []string) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil // not Linux
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, name) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// TestClosed has snapshots of every kind taken, also ones that fail, and looks for files
// that are still open.
func TestClosed(t *testing.T) {
	isolate(t)
	for _, of := range damageTemplates(t) {
		for _, dir := range []string{"", "d", "none"} {
			for _, o := range []Options{{}, {MaxBytes: 1}, {MaxBytes: -1}} {
				at := filepath.Join(of.root, dir)
				for _, rev := range []string{"HEAD", "HEAD~1", "none", "v1"} {
					s, _ := TakeCommit(t.Context(), at, rev, o)
					s.Close()
					s, _ = Commit(t.Context(), nil, at, rev)
					s.Close()
				}
				s, _ := Take(t.Context(), at, o)
				s.Close()
				Dirty(t.Context(), nil, at)
				Why(t.Context(), nil, at, "f")
			}
		}
		require.Empty(t, inMemory(t, of.root))
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			continue // not Linux
		}
		for _, fd := range open {
			name, _ := os.Readlink("/proc/self/fd/" + fd.Name())
			require.NotContains(t, name, of.root)
		}
	}
}
