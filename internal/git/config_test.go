package git_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestConfigAgainstGit compares the configuration of random files in every scope, with
// includes and conditions, with git config --list. Where git refuses them, so do we.
func TestConfigAgainstGit(t *testing.T) {
	isolateConfig(t)
	refused, entries := 0, 0
	for i := range testenv.Cases(2000) {
		seed := testenv.Seed() + i
		c := newConfigCase(t, seed)
		want, gitErr := c.git()
		repo, err := git.Find(c.where)
		if gitErr != nil {
			refused++
			require.Error(t, err, "seed %d: git says %v\n%s", seed, gitErr, c)
			continue
		}
		require.NoError(t, err, "seed %d\n%s", seed, c)
		var got []string
		for _, e := range repo.Config.Entries() {
			line := e.Key
			if e.HasValue {
				line += "\n" + e.Value
			}
			got = append(got, plainBlanks(line))
		}
		entries += len(got)
		require.Equal(t, want, got, "seed %d\n%s", seed, c)
	}
	t.Logf("%d entries the same, %d configurations refused by both", entries, refused)
	require.Greater(t, entries, 4*refused)
}

// FuzzConfig reads any bytes as configuration: they are refused, or give entries in
// memory in proportion.
func FuzzConfig(f *testing.F) {
	f.Add("[a \"b\"]\n\tc = \"d\" # e\n[include]\npath = x\n[includeIf \"gitdir:~/\"] path=y")
	f.Fuzz(func(t *testing.T, text string) {
		total := 0
		err := git.ParseConfig(text, func(key, value string, _ bool) error {
			total += len(value)
			require.NotContains(t, key, "\x00")
			return nil
		})
		if err == nil {
			require.LessOrEqual(t, total, len(text))
		}
	})
}

// plainBlanks takes out what versions of git differ in: before 2.45 a blank within a
// value was a space, whatever stood there.
func plainBlanks(s string) string { return strings.NewReplacer("\t", " ", "\r", " ").Replace(s) }

func isolateConfig(t *testing.T) {
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
		"GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_INDEX_FILE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
}

type configCase struct {
	r                *rand.Rand
	t                *testing.T
	dir, home, where string
	files            map[string]string
}

func newConfigCase(t *testing.T, seed int) *configCase {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	c := &configCase{r: rand.New(rand.NewPCG(uint64(seed), 14)), t: t, dir: dir, files: map[string]string{}}
	c.home, c.where = filepath.Join(dir, "home"), filepath.Join(dir, "code", "Repo")
	t.Setenv("HOME", c.home)
	t.Setenv("XDG_CONFIG_HOME", pick(c.r, "", filepath.Join(dir, "xdg")))
	t.Setenv("GIT_CONFIG_SYSTEM", filepath.Join(dir, "system"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", pick(c.r, "", "", "0", "1", "true", "false"))
	t.Setenv("GIT_CONFIG_GLOBAL", "")
	os.Unsetenv("GIT_CONFIG_GLOBAL")
	if c.r.IntN(8) == 0 {
		t.Setenv("GIT_CONFIG_GLOBAL", pick(c.r, os.DevNull, filepath.Join(c.home, "inc1"), filepath.Join(dir, "none")))
	}
	gitDir := filepath.Join(c.where, ".git")
	for _, d := range []string{"objects", "refs/heads"} {
		require.NoError(t, os.MkdirAll(filepath.Join(gitDir, d), 0o755))
	}
	head := pick(c.r, "ref: refs/heads/main\n", "ref: refs/heads/feature/x\n", "ref:  refs/heads/main\n",
		"0123456789012345678901234567890123456789\n")
	require.NoError(t, os.WriteFile(filepath.Join(gitDir, "HEAD"), []byte(head), 0o644))
	local := "[core]\n\trepositoryformatversion = 0\n" + pick(c.r, "", "", "[extensions]\nworktreeConfig\n",
		"[extensions]\n\tworktreeconfig = true\n")
	c.write(filepath.Join(gitDir, "config"), local+c.text(false))
	for _, name := range []string{"system", "home/.gitconfig", "home/.config/git/config", "xdg/git/config",
		"code/Repo/.git/config.worktree",
		"home/inc1", "home/inc2", "code/Repo/.git/inc1", "code/Repo/.git/inc2", "code/inc1", "inc1"} {
		if c.r.IntN(3) > 0 {
			c.write(filepath.Join(dir, name), c.text(strings.Contains(name, "inc")))
		}
	}
	c.environment()
	return c
}

func (c *configCase) write(name, text string) {
	require.NoError(c.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(c.t, os.WriteFile(name, []byte(text), 0o644))
	c.files[name] = text
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (c *configCase) environment() {
	os.Unsetenv("GIT_CONFIG_COUNT")
	os.Unsetenv("GIT_CONFIG_PARAMETERS")
	keys := []string{"user.name", "A.b", "a.B.c", "a.B c.D", "core.autocrlf", "a.b.c.d", "a.=.b"}
	values := []string{"x", "", "a b", "it's", "!", "a'b!c", "x=y", "ü", "\n"}
	if c.r.IntN(3) == 0 {
		n := c.r.IntN(3)
		c.t.Setenv("GIT_CONFIG_COUNT", fmt.Sprint(n))
		for i := range n {
			c.t.Setenv(fmt.Sprintf("GIT_CONFIG_KEY_%d", i), pick(c.r, keys...))
			c.t.Setenv(fmt.Sprintf("GIT_CONFIG_VALUE_%d", i), pick(c.r, values...))
		}
		if c.r.IntN(20) == 0 {
			c.t.Setenv("GIT_CONFIG_COUNT", pick(c.r, "x", "-1", "1x", "3"))
		}
		if n > 0 && c.r.IntN(20) == 0 {
			c.t.Setenv("GIT_CONFIG_KEY_0", pick(c.r, "", "a", ".a", "a.", "a.1", "a_b.c", "a\n.b.c", "a.b\nc.d"))
		}
	}
	if c.r.IntN(3) == 0 {
		quote := func(s string) string { return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'" }
		var list []string
		for range c.r.IntN(3) {
			key, value := pick(c.r, keys...), pick(c.r, values...)
			list = append(list, pick(c.r, quote(key)+"="+quote(value), quote(key+"="+value), quote(key),
				quote(key)+"="))
		}
		if c.r.IntN(40) == 0 {
			list = append(list, pick(c.r, "x", "'a.b", "'a.b'x", "'a.b'=x", "'a.b'='c'd", "''", "'=x'", "' a.b =x'"))
		}
		c.t.Setenv("GIT_CONFIG_PARAMETERS", strings.Join(list, pick(c.r, " ", "  ")))
	}
}

// text is a random configuration file. Most are as people write them; a few have what
// no reader takes.
func (c *configCase) text(included bool) string {
	r := c.r
	var b strings.Builder
	end := pick(r, "\n", "\n", "\n", "\r\n")
	if r.IntN(10) == 0 {
		b.WriteString("\xef\xbb\xbf")
	}
	for range r.IntN(6) {
		b.WriteString(c.section(included))
		b.WriteString(pick(r, end, end, " ", "  # comment"+end, " ; [x]"+end, ""))
		for range r.IntN(4) {
			b.WriteString(pick(r, "", "\t", "  ") + c.line() + pick(r, end, end, end, end+end))
		}
	}
	if r.IntN(60) == 0 { // what git refuses, or looks as if
		b.WriteString(pick(r, "x", "[", "[a", "[a \"b]", "[a \"b\"", "[a \"b\" ]", "[a_b]", "1 = 2", "a.b = c",
			"k = \"open", "k = a\\q", "k = \\", "[a]k:v",
			"[a \"b\\", "[a\n\"b\"]", "[a \"b\nc\"]", "\xff = 1", "k = a\x00b\n", "[a]]", "[]", "[ \"x\"]", "[.]\nk=1",
			"[a..b]\nk=1", "]", "=", "-a = 1", "k==v\n", "a b = c\n", "k = v \\", "\v=1"))
	}
	text := b.String()
	if r.IntN(5) == 0 {
		text = strings.TrimRight(text, "\r\n")
	}
	return text
}

func (c *configCase) section(included bool) string {
	r := c.r
	switch r.IntN(9) {
	case 0:
		return "[include]" + pick(r, "\n\t", " ") + "path = " + c.included()
	case 1, 2:
		return "[includeIf \"" + c.condition() + "\"]\n\tpath = " + c.included()
	case 3:
		if !included {
			return pick(r, "[remote \"origin\"]\n\turl = ", "[Remote \"o.x\"] url=") +
				pick(r, "https://example.com/a/b", "git@example.com:org/repo", "/srv/x")
		}
	case 4:
		return pick(r, "[branch \"main\"]\n\trebase = merges\n\tmerge = nonsense:", "[branch \"x \\\" y\"]",
			"[Branch \"ü\"]")
	}
	return pick(r, "[core]", "[a]", "[a.b]", "[A.B]", "[a \"b\"]", "[a \"B c\"]", "[a \"\"]", "[a  \"x\\\\y\"]",
		"[a\t\"z\"]", "[x1-y]", "[1a]", pick(r, "[a.b.c]", "[a.b.c]", "[a.b.c]", "[a.b.c]", "[a.b.c]", "[a.\"b\"]"),
		"[a \"]\"]", "[user]")
}

func (c *configCase) line() string {
	r := c.r
	name := pick(r, "key", "Key", "k1", "a-b", "name", "autocrlf", "x")
	value := pick(r, "v", "", "a b", "a  b", "a\tb", "\"quoted\"", "\" x \"", "a\"b c\"d", "a#b", "\"a#b\"", "a ; b",
		"x\\n", "x\\ty", "x\\\\y", "x\\\"y", "a \\\n  b", "a\\\nb", "a \\\r\nb",
		"# all", "ü", "x   ", "\"x   \"  ", "x \" \" ", "true", "0", "\\\"\"\\\"\"", "\"a\\\nb\"", "1\r", "\f", "a\fb")
	if r.IntN(200) == 0 {
		return name + " # c" // which git refuses
	}
	return pick(r, name+" = "+value, name+"="+value, name+"\t=\t"+value, name, name+" ", name+" =", name+"=")
}

func (c *configCase) included() string {
	return pick(c.r, "inc1", "inc2", "./inc1", "../inc1", "~/inc1", "~/inc2", filepath.Join(c.dir, "inc1"), "none/x",
		"\"inc1\"", "inc1 # x", "~root/none", pick(c.r, "inc1", "inc2", "none", "~nobody-of-that-name/x"))
}

func (c *configCase) condition() string {
	r := c.r
	repo := c.where
	switch r.IntN(4) {
	case 0:
		return "onbranch:" + pick(r, "main", "feature/", "feature/*", "*", "**", "m*", "main/", "")
	case 1:
		return "hasconfig:remote.*.url:" + pick(r, "https://example.com/**", "https://example.com/*", "git@*:org/**",
			"**", "/srv/", "*", "none")
	case 2:
		return pick(r, "gitdir:", "gitdir/i:") + pick(r, repo+"/.git", repo+"/", repo, filepath.Dir(repo)+"/",
			strings.ToLower(repo)+"/", "Repo/", "repo/", "Repo/.git", "**/Repo/.git",
			"~/", "~/../code/", "./", "./../code/", "code/**", "*/Repo/", "/", "", "Rep?/", "[R]epo/.git", "/**/code/")
	}
	return pick(r, "nonsense:x", "gitdir", "onbranch", "hasconfig:x.y:z", "hasconfig:remote.x.url:**", "GITDIR:/", "")
}

// git returns what git config --list says.
func (c *configCase) git() ([]string, error) {
	cmd := exec.Command("git", "config", "--list", "-z")
	cmd.Dir = c.where
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, errs.String())
	}
	if len(out) == 0 {
		return nil, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for i := range lines {
		lines[i] = plainBlanks(lines[i])
	}
	return lines, nil
}

func (c *configCase) String() string {
	var b strings.Builder
	for name, text := range c.files {
		fmt.Fprintf(&b, "-- %s --\n%q\n", name, text)
	}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "GIT_CONFIG") || strings.HasPrefix(kv, "XDG_") {
			fmt.Fprintf(&b, "%q\n", kv)
		}
	}
	return b.String()
}

// Files that each include the next one six times are few, and stand for any number.
func TestIncludesOfIncludes(t *testing.T) {
	isolateConfig(t)
	dir := t.TempDir()
	for i := range 9 {
		text := strings.Repeat(fmt.Sprintf("[include]\n\tpath = %d\n", i+1), 6)
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o644))
	}
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "0"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	repo := filepath.Join(dir, "repo")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, ".git", "refs"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(repo, ".git", "objects"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, ".git", "HEAD"), []byte("ref: refs/heads/main\n"), 0o644))
	_, err := git.Find(repo)
	require.ErrorContains(t, err, "more than 1000 files are included")
}
