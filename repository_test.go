package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// gitstate FILE writes what every file of the current folder holds, the repository's
// own included, to a file in $HOME: its path, its mode and the hash of its bytes.
func gitState(ts *testscript.TestScript, neg bool, args []string) {
	root, lines := ts.MkAbs("."), []string{}
	ts.Check(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if d.IsDir() && d.Name() == ".aml-train" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			sum, err = os.Readlink(name)
		case d.Type().IsRegular():
			var text []byte
			text, err = os.ReadFile(name)
			sum = fmt.Sprintf("%x", sha256.Sum256(text))
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", rel, info.Mode(), sum))
		return err
	}))
	sort.Strings(lines)
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("HOME"), args[0]), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
}

// gitcommands SEED COUNT FILE writes a shell script of random git commands, most of
// which change something.
func gitCommands(ts *testscript.TestScript, neg bool, args []string) {
	seed, err := strconv.ParseUint(args[0], 10, 64)
	ts.Check(err)
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	name := func() string { return pick("a", "b", "c") + strconv.Itoa(r.IntN(30)) }
	rev := func() string { return pick("HEAD", "HEAD", "HEAD~1", "main", "v1", "side", "stash@{0}", "ORIG_HEAD") }
	file := func() string { return pick("a.txt", "sub/b.txt", "train.sh", "new.txt", ".", "sub") }
	kinds := []func() string{
		func() string { return "git reset --" + pick("hard", "soft", "mixed", "keep") + " " + rev() },
		func() string { return "git checkout " + pick("", "-f ", "--detach ") + rev() },
		func() string { return "git checkout " + rev() + " -- " + file() },
		func() string { return "git switch -c " + name() },
		func() string { return "git restore " + pick("", "--staged ", "--source=HEAD~1 ") + file() },
		func() string { return "git tag -f " + pick("", "-a -m x ") + name() + " " + rev() },
		func() string { return "git tag -d " + pick("v1", name()) },
		func() string { return "git branch -" + pick("f", "M", "D") + " " + pick("main", "side", name()) },
		func() string {
			return "echo " + name() + " >> " + pick("a.txt", "new.txt", "sub/b.txt") + "; git add -A"
		},
		func() string { return "git commit -q --allow-empty " + pick("", "-a ", "--amend ") + "-m " + name() },
		func() string { return "git stash " + pick("push -u", "push", "pop", "drop", "clear", "list", "apply") },
		func() string {
			return "git config " + pick("", "--local ") + pick("core.bare true", "user.name "+name(),
				"core.worktree /tmp", "remote.origin.url x", "--unset user.name", "core.bare false",
				"--unset core.worktree")
		},
		func() string {
			return "git gc -q " + pick("", "--prune=now ", "--auto ") + "; git reflog expire --expire=now --all"
		},
		func() string {
			return "git repack -q " + pick("-a -d", "-A -d -f", "-d -l") + "; git prune --expire=now"
		},
		func() string { return "git clean -q -" + pick("fd", "fdx", "ffdx") },
		func() string { return "git worktree " + pick("add -f ../"+name(), "prune", "add inside/"+name()) },
		func() string {
			return "git update-ref " + pick("-d ", "") + pick("refs/heads/main", "refs/tags/v1", "refs/heads/"+name(),
				"HEAD") + " " + rev()
		},
		func() string { return "git symbolic-ref HEAD refs/heads/" + pick("main", "side", name()) },
		func() string {
			return "git " + pick("merge", "rebase", "cherry-pick", "revert --no-edit") + " " + rev()
		},
		func() string { return "git " + pick("merge", "rebase", "cherry-pick", "revert") + " --abort" },
		func() string { return "git rm -rqf " + pick("--cached ", "") + file() },
		func() string { return "git mv -f a.txt " + name() },
		func() string { return "git -c protocol.file.allow=always submodule add -f ./. " + name() },
		func() string {
			return "git submodule " + pick("update --init", "deinit -f --all", "sync", "foreach git reset --hard")
		},
		func() string { return "git notes add -f -m " + name() },
		func() string {
			return "git " + pick("pack-refs --all", "update-server-info", "commit-graph write --reachable",
				"multi-pack-index write", "maintenance run", "fsck --lost-found")
		},
		func() string { return "git remote " + pick("remove origin", "add "+name()+" ../x", "rename origin up") },
		func() string {
			return "git " + pick("fetch -q", "push -q --force origin", "push -q --mirror", "pull -q")
		},
		func() string {
			return "git update-index " + pick("--assume-unchanged", "--skip-worktree", "--chmod=+x",
				"--force-remove") + " a.txt"
		},
		func() string { return "git sparse-checkout " + pick("set sub", "disable") },
		func() string {
			return "git init -q; git " + pick("replace -f HEAD HEAD~1", "bisect start HEAD HEAD~1", "bisect reset",
				"rerere", "apply /dev/null")
		},
	}
	var b strings.Builder
	for range count {
		fmt.Fprintf(&b, "%s\n", kinds[r.IntN(len(kinds))]())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(b.String()), 0o644))
}
