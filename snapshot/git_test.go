package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/git-lfs/wildmatch/v2"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	sabhiram "github.com/sabhiram/go-gitignore"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// runGit runs the installed git, away from the configuration of the machine.
func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return runGitIn(t, dir, "", args...)
}

func runGitIn(t testing.TB, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "git %v: %s", args, errs.String())
	return strings.TrimRight(out.String(), "\n")
}

// isolate keeps the person's own git configuration out of the tests.
func isolate(t testing.TB) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
}

// oracle is what git makes of the source folder: the tree that it would write with
// its content filters off, and the files in it, from a copy, so that the
// repository under test stays as it is.
func oracle(t testing.TB, root, source string, bits bool) (id, files string, dirty bool) {
	t.Helper()
	duplicate := root + "-copy"
	require.NoError(t, os.CopyFS(duplicate, os.DirFS(root)))
	at := filepath.Join(duplicate, source)
	dirty = runGit(t, at, "--no-optional-locks", "status", "--porcelain", ".") != ""
	// What is in the working tree is what travels, whatever git was told to assume.
	// The copies' stat data is new, so git reads each file again.
	if bits {
		var present strings.Builder
		for line := range strings.SplitSeq(runGit(t, duplicate, "ls-files", "-v", "-z"), "\x00") {
			if line == "" {
				continue
			}
			if _, err := os.Lstat(filepath.Join(duplicate, line[2:])); err == nil || line[0] == 'h' {
				present.WriteString(line[2:] + "\x00")
			}
		}
		runGitIn(t, duplicate, present.String(), "update-index", "-z", "--no-assume-unchanged", "--stdin")
		runGitIn(t, duplicate, present.String(), "update-index", "-z", "--no-skip-worktree", "--stdin")
	}
	off := "* -text -crlf -eol -ident -filter -working-tree-encoding\n"
	require.NoError(t, os.WriteFile(filepath.Join(duplicate, ".git", "info", "attributes"), []byte(off), 0o644))
	runGit(t, duplicate, "-c", "core.autocrlf=false", "-c", "core.sparseCheckout=false", "add", "-A")
	files = runGit(t, at, "ls-files", "-z", "--format=%(objectmode) %(objectname) %(path)")
	if files == "" {
		return "", "", dirty
	}
	write := []string{"write-tree"}
	if source != "" {
		write = append(write, "--prefix="+source+"/")
	}
	return runGit(t, duplicate, write...), files, dirty
}

var (
	names = []string{"a", "b", "c", "ab", "abc", "a.py", "b.py", "data", "Data", "x y", "[x]", "é", "a-b", ".env",
		"build", "lib", "foo"}
	globs = []string{
		"*", "*.py", "a*", "?", "[a-c]", "[!a]", "[^b]*", "a[", "[]a]", "[[:alpha:]]", "[[:upper:]]*", "[[:nope:]]",
		"[a-", "[b-a]", `\a`, `a\`, `\[x\]`, `x\ y`, "x y ",
		"**", "a/**", "**/a", "**/b.py", "a/**/b", "/a", "a/", "/a/", "a/b", "a/*", "*/b", "a*/b", "lib**/b", "**a",
		"a**", "foo/**/", "/*", "!*/", "!a", "!a/", "!/a/b", "!*.py", "!b.py", "!data", "!data/**",
		"data/", "data", "Data", "#a", `\#a`, "!", "/", "", "  ", "a ", `a\ `, "\ta", "a\t", "*/", "*/*", "*/a/*",
		"**/", "/**", "/**/a", "b/../a", "./a", "é", "?é", "*b*", "[a-b]*[!c]", "a?c", "*a*b*", "[\\a]", "[a\\]]",
		"[!-b]", "[a-a]", "**/*b/a",
	}
)

// plant fills dir with a random tree and returns its files.
func plant(r *rand.Rand, names []string, dir string, depth int, files *[]string, root string, attributed bool) {
	for range 1 + r.IntN(5) {
		name := names[r.IntN(len(names))]
		at := filepath.Join(dir, name)
		if depth < 4 && r.IntN(5) < 2 {
			if os.MkdirAll(at, 0o755) == nil {
				plant(r, names, at, depth+1, files, root, attributed)
			}
			continue
		}
		mode := os.FileMode(0o644)
		if r.IntN(6) == 0 {
			mode = 0o755
		}
		if os.WriteFile(at, content(r), mode) == nil {
			rel, _ := filepath.Rel(root, at)
			*files = append(*files, rel)
		}
	}
	if r.IntN(3) == 0 {
		os.WriteFile(filepath.Join(dir, ".gitignore"), patterns(r), 0o644)
	}
	if attributed && r.IntN(4) == 0 {
		os.WriteFile(filepath.Join(dir, ".gitattributes"), attributesFile(r), 0o644)
	}
	if r.IntN(12) == 0 {
		os.Symlink(names[r.IntN(len(names))], filepath.Join(dir, "link"))
	}
}

// content is mostly a line, at times with what a content filter would change.
func content(r *rand.Rand) []byte {
	switch r.IntN(12) {
	case 0:
		return fmt.Appendf(nil, "%d\r\ntwo\r\n", r.IntN(1000))
	case 1:
		return fmt.Appendf(nil, "%d\r\ntwo\n", r.IntN(1000))
	case 2:
		return fmt.Appendf(nil, "$Id: %d $\n$Id$ $Id: two\n$ $Id: a$Id: b$", r.IntN(1000))
	case 3:
		return fmt.Appendf(nil, "\x00%d\r\n", r.IntN(1000))
	case 4:
		return fmt.Appendf(nil, "%d\r\r\n\x1a", r.IntN(1000))
	}
	return fmt.Appendf(nil, "%d", r.IntN(1000))
}

var states = []string{
	"text", "-text", "text=auto", "!text", "eol=crlf", "eol=lf", "-eol", "crlf", "-crlf", "crlf=input", "binary",
	"-binary", "!binary", "ident", "-ident", "!ident",
	"filter=none", "-filter", "mine", "-mine", "!mine", "text=auto eol=crlf", "bad=attr=x", "-bad=x", "b@d",
	"text=input",
}

// attributesFile is a random .gitattributes file, most often the one that stands
// in very many repositories.
func attributesFile(r *rand.Rand) []byte {
	if r.IntN(3) == 0 {
		return []byte("* text=auto\n")
	}
	var b strings.Builder
	if r.IntN(3) == 0 {
		b.WriteString("[attr]mine " + states[r.IntN(len(states))] + "\n")
	}
	for range 1 + r.IntN(4) {
		pattern := globs[r.IntN(len(globs))]
		switch r.IntN(6) {
		case 0:
			pattern = "*"
		case 1:
			pattern = strconv.Quote(pattern)
		}
		b.WriteString(pattern)
		for range 1 + r.IntN(2) {
			b.WriteString([]string{" ", "\t", "  "}[r.IntN(3)] + states[r.IntN(len(states))])
		}
		b.WriteString([]string{"\n", "\r\n"}[r.IntN(2)])
	}
	return []byte(b.String())
}

func patterns(r *rand.Rand) []byte {
	end := "\n"
	if r.IntN(6) == 0 {
		end = "\r\n"
	}
	var b strings.Builder
	if r.IntN(10) == 0 {
		b.WriteString("\xef\xbb\xbf")
	}
	for range 1 + r.IntN(4) {
		p := globs[r.IntN(len(globs))]
		if r.IntN(6) == 0 {
			p = "!" + p
		}
		if r.IntN(8) == 0 {
			p += "/" + globs[r.IntN(len(globs))]
		}
		b.WriteString(p + end)
	}
	s := b.String()
	if r.IntN(5) == 0 {
		s = strings.TrimSuffix(s, end)
	}
	return []byte(s)
}

// TestAgainstGit compares snapshots of random repositories with the trees that git
// writes, and measures on the same files what two libraries would have decided.
func TestAgainstGit(t *testing.T) {
	isolate(t)
	cases, first := testenv.Cases(2000), testenv.Seed()
	template := t.TempDir()
	runGit(t, template, "init", "-q", "--template=")
	var decided verdicts
	t.Run("cases", func(t *testing.T) {
		// A few at a time, without an entry a case in the log.
		var next atomic.Int64
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					i := int(next.Add(1)) - 1
					if i >= cases {
						return
					}
					againstGit(t, template, first+i, &decided)
				}
			})
		}
	})
	t.Logf("%d repositories with %d untracked files. Of these, go-git's matcher decides %d in another way "+
		"than git does, go-gitignore %d, git-lfs's wildmatch %d", cases, decided.files.Load(), decided.goGit.Load(),
		decided.goGitignore.Load(), decided.wildmatch.Load())
	if cases >= 100 {
		require.NotZero(t, decided.wildmatch.Load(), "the baselines are measured")
		require.NotZero(t, decided.goGit.Load(), "the baselines are measured")
		require.NotZero(t, decided.goGitignore.Load(), "the baselines are measured")
	}
}

// memory is a folder in memory where there is one: making a folder on a disk takes
// longer than all that is tested here.
func memory() string {
	if probe, err := os.MkdirTemp("/dev/shm", "probe"); err == nil {
		os.Remove(probe)
		return "/dev/shm"
	}
	return ""
}

func againstGit(t *testing.T, template string, seed int, decided *verdicts) {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	base, err := os.MkdirTemp(memory(), "snapshot")
	require.NoError(t, err)
	defer os.RemoveAll(base)
	failed := t.Failed
	defer func() {
		if failed() {
			t.Logf("seed %d", seed)
		}
	}()
	root := filepath.Join(base, "r")
	require.NoError(t, os.CopyFS(root, os.DirFS(template)))
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".git", "info"), 0o755))
	settings := "[core]\n"
	names := names
	if r.IntN(4) == 0 {
		settings += "ignorecase = true\n"
		// git refuses two names that differ in case only, then.
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "Data" })
	}
	if r.IntN(4) == 0 {
		require.NoError(t, os.WriteFile(filepath.Join(root, ".git", "info", "exclude"), patterns(r), 0o644))
	}
	if r.IntN(4) == 0 {
		mine := filepath.Join(root, ".git", "mine")
		require.NoError(t, os.WriteFile(mine, patterns(r), 0o644))
		settings += "excludesFile = " + mine + "\n"
	}
	attributed := r.IntN(3) == 0
	if attributed && r.IntN(4) == 0 {
		require.NoError(t, os.WriteFile(filepath.Join(root, ".git", "info", "attributes"), attributesFile(r), 0o644))
	}
	if attributed && r.IntN(4) == 0 {
		settings += "autocrlf = " + []string{"true", "input"}[r.IntN(2)] + "\n"
	}
	var files []string
	plant(r, names, root, 0, &files, root, attributed)
	if r.IntN(8) == 0 {
		settings += "fileMode = false\n"
	}
	if r.IntN(8) == 0 {
		settings += "[status]\nshowUntrackedFiles = " + pick(r, "no", "no", "all", "normal") + "\n"
	}
	config, err := os.OpenFile(filepath.Join(root, ".git", "config"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = config.WriteString(settings)
	require.NoError(t, errors.Join(err, config.Close()))
	if r.IntN(3) > 0 { // as after a checkout a while ago: the index is younger than the files
		earlier := time.Now().Add(-time.Hour)
		for _, f := range files {
			require.NoError(t, os.Chtimes(filepath.Join(root, f), earlier, earlier))
		}
	}
	var tracked strings.Builder // some, whatever the patterns say
	for _, f := range files {
		if r.IntN(3) == 0 {
			tracked.WriteString(f + "\x00")
		}
	}
	if tracked.Len() > 0 {
		runGitIn(t, root, tracked.String(), "--literal-pathspecs", "add", "-f", "--pathspec-from-file=-",
			"--pathspec-file-nul")
	}
	if r.IntN(2) == 0 {
		runGit(t, root, "commit", "-q", "--allow-empty", "-m", "x")
	}
	bits := false
	if tracked.Len() > 0 {
		one, _, _ := strings.Cut(tracked.String(), "\x00")
		switch r.IntN(16) {
		case 0:
			runGit(t, root, "update-index", "--index-version", "4")
		case 1:
			runGit(t, root, "update-index", "--split-index")
		case 2:
			bits = true
			runGitIn(t, root, one+"\x00", "update-index", "-z", "--assume-unchanged", "--stdin")
		case 3:
			bits = true
			runGitIn(t, root, one+"\x00", "update-index", "-z", "--skip-worktree", "--stdin")
		}
	}
	for _, f := range files { // some dirty
		switch at := filepath.Join(root, f); r.IntN(12) {
		case 0:
			os.WriteFile(at, content(r), 0o644)
		case 1:
			os.Remove(at)
		case 2:
			if os.Remove(at) == nil && os.Mkdir(at, 0o755) == nil {
				os.WriteFile(filepath.Join(at, "below"), nil, 0o644)
			}
		case 3:
			os.Chmod(at, 0o755)
		}
	}
	if first, _, _ := strings.Cut(tracked.String(), "\x00"); bits && filepath.Dir(first) != "." && r.IntN(2) == 0 {
		// something else stands where the folder of a file was
		at := filepath.Join(root, filepath.Dir(first))
		require.NoError(t, os.RemoveAll(at))
		if r.IntN(2) == 0 {
			require.NoError(t, os.Symlink(pick(r, "nowhere", "a", "."), at))
		} else {
			require.NoError(t, os.WriteFile(at, content(r), 0o644))
		}
	}
	converted := attributed && r.IntN(3) == 0
	if converted { // files are not added anew because they would be converted in another way now
		convertOtherwise(t, r, root)
	}
	source := ""
	if dirs, _ := filepath.Glob(filepath.Join(root, "*", "")); r.IntN(3) == 0 {
		for _, d := range dirs {
			if info, err := os.Lstat(d); err == nil && info.IsDir() && filepath.Base(d) != ".git" {
				source = filepath.Base(d)
			}
		}
	}
	want, list, dirty := oracle(t, root, source, bits)
	if converted { // the copy has been looked at anew
		dirty = runGit(t, filepath.Join(root, source), "--no-optional-locks", "status", "--porcelain", ".") != ""
	}
	got, err := Take(context.Background(), filepath.Join(root, source), Options{})
	if want == "" {
		require.ErrorContains(t, err, "no file travels", "seed %d", seed)
		return
	}
	require.NoError(t, err, "seed %d", seed)
	var lines strings.Builder
	for _, f := range got.Files {
		fmt.Fprintf(&lines, "%06o %s %s\x00", uint32(f.Mode), f.OID, f.Path)
	}
	require.Equal(t, list, lines.String(), "seed %d", seed)
	require.Equal(t, want, got.ID, "seed %d", seed)
	require.Equal(t, dirty, got.Dirty, "seed %d", seed)
	if source == "" {
		whyAgainstGit(t, r, root, tracked.String())
		decided.measure(t, root, tracked.String(), got)
	}
}

// convertOtherwise changes what says how files are converted: all files of attributes, or the configuration.
func convertOtherwise(t *testing.T, r *rand.Rand, root string) {
	if r.IntN(2) == 0 {
		runGit(t, root, "config", "core.autocrlf", pick(r, "true", "input", "false"))
	}
	require.NoError(t, filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && e.Name() == ".git" {
			return cmp.Or(err, fs.SkipDir)
		}
		if e.Name() != ".gitattributes" || r.IntN(3) == 0 {
			return nil
		}
		if r.IntN(2) == 0 {
			return os.Remove(at)
		}
		return os.WriteFile(at, attributesFile(r), 0o644)
	}))
}

// whyAgainstGit compares the lines that decide over some paths, there or not, with those
// that git check-ignore names, and whether they are ignored.
func whyAgainstGit(t *testing.T, r *rand.Rand, root, tracked string) {
	var asked []string
	for range 6 {
		var parts []string
		for range 1 + r.IntN(3) {
			parts = append(parts, pick(r, pick(r, names...), "link", "new"))
		}
		if p := strings.Join(parts, "/"); !strings.Contains("\x00"+tracked, "\x00"+p) {
			asked = append(asked, p)
		}
	}
	answers, refusal := checkIgnore(root, asked...)
	for i, p := range asked {
		var fields []string
		if refusal == "" {
			fields = answers[i]
		} else if one, refusal := checkIgnore(root, p); refusal == "" {
			fields = one[0]
		} else {
			_, ours := Why(t.Context(), nil, root, p)
			require.Error(t, ours, "%s: git says %s", p, refusal)
			continue
		}
		d, ours := Why(t.Context(), nil, root, p)
		require.NoError(t, ours, p)
		require.Equal(t, p, fields[3])
		if d.Rule == nil {
			require.Empty(t, fields[2], p)
			continue
		}
		require.Equal(t, fields[1]+":"+fields[2], fmt.Sprint(d.Rule.Line, ":", d.Rule.Text), "%s: %s", p, fields[0])
		require.Equal(t, filepath.Base(fields[0]), filepath.Base(d.Rule.File), p)
	}
}

// checkIgnore returns what git check-ignore says of each path: the file, the line, the
// pattern and the path. It refuses all of them where it refuses one.
func checkIgnore(root string, paths ...string) (answers [][]string, refusal string) {
	cmd := exec.Command("git", "check-ignore", "-z", "-v", "-n", "--no-index", "--stdin")
	cmd.Dir, cmd.Stdin = root, strings.NewReader(strings.Join(paths, "\x00")+"\x00")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 128 {
		return nil, string(exit.Stderr)
	}
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	return slices.Collect(slices.Chunk(fields, 4)), ""
}

// verdicts counts how often other libraries decide over an untracked file
// otherwise than git.
type verdicts struct{ files, goGit, goGitignore, wildmatch atomic.Int64 }

func (v *verdicts) measure(t *testing.T, root, list string, s *Snapshot) {
	tracked := map[string]bool{}
	for name := range strings.SplitSeq(list, "\x00") {
		tracked[name] = true
	}
	ps, err := gitignore.ReadPatterns(osfs.New(root), nil)
	require.NoError(t, err)
	matcher := gitignore.NewMatcher(ps)
	var lists []oneFile // go-gitignore knows one file; the nearest that has an answer decides
	fs.WalkDir(os.DirFS(root), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == ".git" {
			return fs.SkipDir
		}
		if e.IsDir() {
			if text, err := os.ReadFile(filepath.Join(root, p, ".gitignore")); err == nil {
				lists = append(lists,
					oneFile{strings.TrimPrefix(p+"/", "./"),
						sabhiram.CompileIgnoreLines(strings.Split(string(text), "\n")...), ofLFS(text)})
			}
			return nil
		}
		if tracked[p] {
			return nil
		}
		git := s.Find(p) == nil
		v.files.Add(1)
		parts := strings.Split(p, "/")
		var a, b, c bool
		for i := range parts { // nothing below an excluded folder travels
			isDir := i < len(parts)-1
			a = a || matcher.Match(parts[:i+1], isDir)
			b = b || nearest(lists, strings.Join(parts[:i+1], "/"), isDir)
			c = c || lastMatch(lists, strings.Join(parts[:i+1], "/"), isDir)
		}
		if a != git {
			v.goGit.Add(1)
		}
		if b != git {
			v.goGitignore.Add(1)
		}
		if c != git {
			v.wildmatch.Add(1)
		}
		return nil
	})
}

type oneFile struct {
	dir string
	*sabhiram.GitIgnore
	lfs []lfsPattern
}

// lfsPattern is a line of an ignore file as git-lfs would match it, the pattern's own
// rules of precedence being git's.
type lfsPattern struct {
	*wildmatch.Wildmatch
	negated bool
}

// ofLFS compiles the lines of an ignore file. What git-lfs panics at matches nothing.
func ofLFS(text []byte) (list []lfsPattern) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		func() {
			defer func() { recover() }()
			pattern, negated := strings.CutPrefix(line, "!")
			list = append(list, lfsPattern{wildmatch.NewWildmatch(pattern, wildmatch.Basename), negated})
		}()
	}
	return list
}

// lastMatch is what the last pattern that matches says, of the nearest file that has one.
func lastMatch(lists []oneFile, p string, isDir bool) bool {
	for i := len(lists) - 1; i >= 0; i-- {
		rel, ok := strings.CutPrefix(p, lists[i].dir)
		if !ok {
			continue
		}
		for _, pattern := range slices.Backward(lists[i].lfs) {
			if pattern.MatchWithOpts(rel, wildmatch.MatchOpts{IsDirectory: isDir}) {
				return !pattern.negated
			}
		}
	}
	return false
}

func nearest(lists []oneFile, p string, isDir bool) bool {
	if isDir {
		p += "/"
	}
	for i := len(lists) - 1; i >= 0; i-- {
		if rel, ok := strings.CutPrefix(p, lists[i].dir); ok {
			if ignored, pattern := lists[i].MatchesPathHow(rel); ignored || pattern != nil {
				return ignored
			}
		}
	}
	return false
}
