package hooks

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestKeptHooks pushes past random hooks, with and without ours before them: the push is
// let through or stopped alike, and a hook says, sees and is told the same. Afterwards
// everything is where it was.
func TestKeptHooks(t *testing.T) {
	p := newPushes(t)
	for seed := testenv.Seed(); seed < testenv.Seed()+testenv.Cases(80); seed++ {
		r := rand.New(rand.NewPCG(uint64(seed), 14))
		c := p.prepare(t, r)
		before := p.listing(t)
		plain, refused := "", true
		if !c.unstartable { // git 2.39 then waits for ever
			plain, refused = p.push(t, c)
		}
		p.install(t)
		kept, vetoed := p.push(t, c)
		trained, err := os.ReadFile(p.seen)
		require.Equal(t, refused, vetoed, "seed %d: %+v\nwithout: %.999s\nwith: %.999s", seed, c, plain, kept)
		if !c.unstartable {
			alike(t, plain, kept, "seed %d: %+v", seed, c)
		}
		if refused {
			require.ErrorIs(t, err, fs.ErrNotExist, "seed %d: trained, though the push is stopped", seed)
		} else {
			require.NoError(t, err)
			alike(t, "hook run origin "+p.remote+"\n"+p.told[c.refs], string(trained), "seed %d", seed)
		}
		p.uninstall(t)
		require.Equal(t, before, p.listing(t), "seed %d: %+v", seed, c)
	}
}

// alike compares texts of many lines, and shows where they begin to differ.
func alike(t *testing.T, want, got, format string, args ...any) {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	require.Equal(t, a[:min(len(a), 3)], b[:min(len(b), 3)], fmt.Sprintf(format, args...))
}

// pushes is a repository from which hooks are tried.
type pushes struct {
	root, remote, tree string
	seen               string            // what our hook was told
	told               map[string]string // what git tells a hook, by refs
	dir, config        string
}

type pushCase struct {
	interpreter, layout, file, refs, text string
	linked                                bool // from a linked worktree
	unstartable                           bool
}

const manyRefs = 1500

func newPushes(t *testing.T) *pushes {
	base, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	home := filepath.Join(base, "home")
	require.NoError(t, os.Mkdir(home, 0o755))
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": "", "GIT_CONFIG_NOSYSTEM": "1", "SAID": "by the environment",
		"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "a@b",
	} {
		t.Setenv(name, value)
	}
	p := &pushes{
		root:   filepath.Join(base, `it's "a" $repo`),
		remote: filepath.Join(base, "remote.git"),
		tree:   filepath.Join(base, "linked"),
		seen:   filepath.Join(base, "seen"),
		told:   map[string]string{},
	}
	run := func(dir string, args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	run(base, "init", "-q", "--bare", p.remote)
	run(base, "init", "-q", "-b", "main", p.root)
	run(p.root, "remote", "add", "origin", p.remote)
	run(p.root, "commit", "-q", "--allow-empty", "-m", "first")
	run(p.root, "worktree", "add", "-q", p.tree)
	head, err := os.ReadFile(filepath.Join(p.root, ".git/refs/heads/main"))
	require.NoError(t, err)
	var packed strings.Builder
	for i := range manyRefs {
		fmt.Fprintf(&packed, "%s refs/heads/%s/%05d\n", strings.TrimSpace(string(head)), strings.Repeat("long", 40), i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(p.root, ".git/packed-refs"), []byte(packed.String()), 0o644))
	config, err := os.ReadFile(filepath.Join(p.root, ".git/config"))
	require.NoError(t, err)
	p.config = string(config)
	// What a person's path may look like that has the name of another interpreter in it.
	for name, program := range map[string]string{"bash-tools/python": "python3", "no-bash/sh": "sh"} {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(base, name)), 0o755))
		text := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", path)
		require.NoError(t, os.WriteFile(filepath.Join(base, name), []byte(text), 0o755))
	}
	program := "#!/bin/sh\n{ echo \"$@\"; cat; } > \"" + p.seen + "\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(base, "aml-train"), []byte(program), 0o755))
	for _, refs := range []string{"main", "main main:other main:x/y", "--all"} {
		c := pushCase{layout: ".git/hooks", file: "plain", refs: refs, text: "#!/bin/sh\ncat > \"" + p.seen + "\"\n"}
		p.put(t, c)
		p.push(t, c)
		told, err := os.ReadFile(p.seen)
		require.NoError(t, err)
		p.told[refs] = string(told)
	}
	require.Equal(t, manyRefs+2, strings.Count(p.told["--all"], "\n"))
	return p
}

func (p *pushes) base() string { return filepath.Dir(p.root) }

// prepare puts a random hook where git looks.
func (p *pushes) prepare(t *testing.T, r *rand.Rand) pushCase {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	c := pushCase{
		interpreter: pick("#!/bin/sh", "#!/bin/sh -e", "#! /bin/sh -eu", "#!/bin/bash", "#!/bin/bash -e",
			"#!/usr/bin/env bash", "#!/usr/bin/env -S bash -eu", "#!/usr/bin/env sh", "#!/usr/bin/env python3",
			"#!/usr/bin/env -S python3 -u", "#!/usr/bin/perl -w", "#!/usr/bin/env node", "#!/no/such/interpreter",
			"#!"+p.base()+"/bash-tools/python", "#!"+p.base()+"/no-bash/sh -e", "", "binary"),
		layout: pick(".git/hooks", ".git/hooks", ".githooks", ".husky/_", "./deep/er/", "absolute", "link"),
		file: pick("plain", "plain", "plain", "same folder", "repository", "absolute", "chain", "dangling",
			"not executable", "empty"),
		refs:   pick("main", "main", "main main:other main:x/y", "main main:other main:x/y", "--all"),
		linked: r.IntN(5) == 0,
	}
	runs := !slices.Contains([]string{"dangling", "not executable", "empty"}, c.file)
	c.unstartable = c.interpreter == "#!/no/such/interpreter" && runs
	switch {
	case strings.Contains(c.interpreter, "python"):
		c.text = c.interpreter + "\n" + pythonHook(r)
	case strings.Contains(c.interpreter, "perl"):
		c.text = c.interpreter + "\nprint \"$0 @ARGV $ENV{SAID}\\n\"; " + pick("print <STDIN>;", "") +
			fmt.Sprintf("exit %d;\n", r.IntN(3))
	case strings.Contains(c.interpreter, "node"):
		c.text = c.interpreter + "\nconst {basename} = require('path');" +
			"console.log(basename(process.argv[1]), basename(__filename), __dirname, process.argv.slice(2));" +
			fmt.Sprintf("process.exit(%d)\n", r.IntN(3))
	case c.interpreter == "binary":
		text, err := os.ReadFile(pick("/bin/true", "/bin/false", "/usr/bin/env"))
		require.NoError(t, err)
		c.text = string(text)
	default:
		bash := strings.HasSuffix(c.interpreter, "bash") || strings.Contains(c.interpreter, "bash -")
		c.text = c.interpreter + "\n" + shellHook(r, bash)
	}
	if c.file == "empty" {
		c.text = ""
	}
	p.put(t, c)
	if c.interpreter == "binary" {
		c.text = "(a program)"
	}
	return c
}

func pythonHook(r *rand.Rand) string {
	text := "import os, sys\nprint(sys.argv, os.path.realpath(sys.argv[0]), __file__, os.getcwd(), " +
		"os.environ['SAID'], sys.flags.verbose, flush=True)\n"
	if r.IntN(2) == 0 {
		text += "sys.stdout.write(sys.stdin.read())\n"
	}
	if r.IntN(3) == 0 {
		text += "print(open(os.path.join(os.path.dirname(__file__), 'lib.sh')).read())\n"
	}
	return text + fmt.Sprintf("sys.exit(%d)\n", r.IntN(3))
}

// shellHook is a random shell script: what real ones do with what they are given.
func shellHook(r *rand.Rand, bash bool) string {
	parts := []string{
		`echo "$0"`, `basename "$0"`, `readlink -f "$0"`, `echo "$# $*"`, `printf '<%s>\n' "$@"`, `pwd`,
		`echo "$SAID ${GIT_DIR-none} ${GIT_PREFIX-none}"`, `echo $-`, `. "$(dirname "$0")/lib.sh"`,
		`"${0%/*}/lib.sh"`, `ls "$(dirname "$0")" | grep -v aml-train`, `cat "$(dirname "$0")/.hidden"`,
		`(cd "$(dirname "$0")/.." && pwd)`, `ls "$(dirname "$(readlink -f "$0")")/lib.sh"`, `tail -n 1 "$0"`,
		`grep -c . "$0"`, `[ -n "$AGAIN" ] || { export AGAIN=1; exec "$0" "$@"; }`,
		`[ -n "$AGAIN" ] || { export AGAIN=1; sh "$0" "$@" || exit 8; }`, `cat`,
		`while read -r local oid remote old; do echo "$local $oid $remote $old"; done`,
		`read -r first || :; echo "$first"`, `exec < /dev/null`, `wc -c`, `head -c 9`, `false`,
		`false || echo so`, `echo "$UNSET_NAME"`, `nosuchcommand 2> /dev/null`, `return 5 2> /dev/null`,
		`echo said >&2`, `trap 'echo bye' EXIT`, `case $0 in */pre-push) ;; *) exit 7 ;; esac`,
		`git rev-parse --show-toplevel --git-dir`, `set -- x`, `exit`,
		`for f in "$(dirname "$0")"/check-*; do [ -x "$f" ] && "$f"; done`, `kill -TERM $$`,
	}
	if bash {
		parts = append(parts, `echo "${BASH_SOURCE[0]}"`, `[[ ${BASH_SOURCE[0]} == "$0" ]] || exit 0`,
			`main() { echo "${FUNCNAME[*]} $LINENO"; }; main`, `set -o pipefail; false | true`,
			`[[ ${BASH_SOURCE[0]} != "$0" ]] || exit 6`)
	}
	var lines []string
	for range 1 + r.IntN(7) {
		lines = append(lines, parts[r.IntN(len(parts))])
	}
	return strings.Join(append(lines, fmt.Sprintf("exit %d", r.IntN(2)*r.IntN(256))), "\n") + "\n"
}

// put writes a hook to where git looks for it, and what lies around it.
func (p *pushes) put(t *testing.T, c pushCase) {
	for _, name := range []string{".git/hooks", "shared", ".githooks", ".husky", "deep", "scripts"} {
		require.NoError(t, os.RemoveAll(filepath.Join(p.root, name)))
		if name != ".git/hooks" { // .git is a file there
			require.NoError(t, os.RemoveAll(filepath.Join(p.tree, name)))
		}
	}
	require.NoError(t, os.RemoveAll(filepath.Join(p.base(), "hooks")))
	config, top := "", p.root
	if c.linked {
		top = p.tree
	}
	p.dir = filepath.Join(top, c.layout)
	switch c.layout {
	case ".git/hooks":
		p.dir = filepath.Join(p.root, c.layout)
	case "link":
		p.dir = filepath.Join(p.root, "shared")
		require.NoError(t, os.Symlink("../shared", filepath.Join(p.root, ".git/hooks")))
	case "absolute":
		p.dir = filepath.Join(p.base(), "hooks")
		config = p.dir
	default:
		config = c.layout
	}
	text := p.config
	if config != "" {
		text += "[core]\n\thooksPath = " + config + "\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(p.root, ".git/config"), []byte(text), 0o644))
	write := func(name, text string) string {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o755))
		return name
	}
	write(filepath.Join(p.dir, "lib.sh"), "echo from lib\n")
	write(filepath.Join(p.dir, ".hidden"), "hidden\n")
	write(filepath.Join(p.dir, "check-a"), "#!/bin/sh\necho checked\n")
	hook := filepath.Join(p.dir, hookFile)
	link := func(to string) { require.NoError(t, os.Symlink(to, hook)) }
	into, err := filepath.Rel(p.dir, write(filepath.Join(top, "scripts/push check"), c.text))
	require.NoError(t, err)
	write(filepath.Join(top, "scripts/lib.sh"), "echo from the repository's lib\n")
	switch c.file {
	case "plain", "empty":
		write(hook, c.text)
	case "not executable":
		write(hook, c.text)
		require.NoError(t, os.Chmod(hook, 0o644))
	case "same folder":
		write(filepath.Join(p.dir, "_run"), c.text)
		link("_run")
	case "repository":
		link(into)
	case "absolute":
		link(filepath.Join(top, "scripts/push check"))
	case "chain":
		require.NoError(t, os.Symlink(into, filepath.Join(p.dir, "_next")))
		link("_next")
	case "dangling":
		link("../gone")
	}
}

func (p *pushes) at(t *testing.T) *git.Repository {
	dir := p.root
	if strings.HasPrefix(p.dir, p.tree) {
		dir = p.tree
	}
	r, err := git.Find(dir)
	require.NoError(t, err)
	return r
}

func (p *pushes) install(t *testing.T) {
	s, err := Install(p.at(t), filepath.Join(p.base(), "aml-train"))
	require.NoError(t, err)
	require.True(t, s.Installed)
	require.Len(t, s.Kept, 1)
}

func (p *pushes) uninstall(t *testing.T) {
	s, err := Uninstall(p.at(t))
	require.NoError(t, err)
	require.NotEmpty(t, s.Other)
}

// listing is what lies in the folder of hooks, and beside it.
func (p *pushes) listing(t *testing.T) []string {
	var out []string
	names, err := filepath.Glob(filepath.Join(glob(filepath.Clean(p.dir))+"*", "*"))
	require.NoError(t, err)
	for _, name := range names {
		info, err := os.Lstat(name)
		require.NoError(t, err)
		link, _ := os.Readlink(name)
		text, _ := os.ReadFile(name)
		out = append(out, fmt.Sprintf("%s %s %s %x", name, info.Mode(), link, text))
	}
	return out
}

func glob(name string) string { return regexp.MustCompile(`[][*?\\]`).ReplaceAllString(name, `\$0`) }

// push tries to push, and returns what is printed, as it would be without us.
func (p *pushes) push(t *testing.T, c pushCase) (printed string, refused bool) {
	require.NoError(t, os.RemoveAll(p.seen))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	args := append([]string{"push", "--dry-run", "--porcelain"}, pushArgs(c.refs)...)
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = p.root
	if c.linked {
		cmd.Dir = p.tree
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), "%+v hangs: %s", c, out)
	text := strings.ReplaceAll(strings.ReplaceAll(string(out), before, ""), "//", "/")
	if c.layout == "link" { // the same folder by its other name
		text = strings.ReplaceAll(text, p.root+"/shared/", p.root+"/.git/hooks/")
	}
	text = regexp.MustCompile(`(?m)(^hint:|error: .*pre-push died of signal|Terminated$).*\n`).ReplaceAllString(text,
		"")
	return text, err != nil
}

func pushArgs(refs string) []string {
	if refs == "--all" {
		return []string{"--all", "origin"}
	}
	return append([]string{"origin"}, strings.Fields(refs)...)
}
