//go:build unix

package deliver

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// lay makes a folder, and makes it the working folder, with each kind of thing that can be in the
// way of a file or a folder.
func lay(t *testing.T) (dir string) {
	dir = t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"folder", "full/sub", "locked", ".aml-train"} {
		require.NoError(t, os.MkdirAll(name, 0o755))
	}
	for _, name := range []string{"file", "kept", "full/file", "locked/file"} {
		require.NoError(t, os.WriteFile(name, []byte("precious"), 0o644))
	}
	for name, mode := range map[string]os.FileMode{"kept": 0o444, "locked/file": 0o444, "locked": 0o555} {
		require.NoError(t, os.Chmod(name, mode))
	}
	t.Cleanup(func() { os.Chmod(dir+"/locked", 0o755) })
	for name, to := range map[string]string{"dangling": "missing", "loop": "pool", "pool": "loop", "tofile": "file",
		"tofolder": "folder", "tolocked": "locked", "self": "self", "deep": "missing/deeper"} {
		require.NoError(t, os.Symlink(to, name))
	}
	require.NoError(t, syscall.Mkfifo("pipe", 0o644))
	if os.Geteuid() != 0 {
		require.NoError(t, syscall.Mkfifo("shut", 0o444))
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: "socket", Net: "unix"})
	require.NoError(t, err)
	socket.SetUnlinkOnClose(false)
	require.NoError(t, socket.Close())
	return dir
}

// places are names of files and folders: of what is there, of what is not, and of what would lie
// behind either.
func places(dir string) (list []string) {
	there, _ := os.ReadDir(dir)
	names := []string{"new", ".git", ".Git", "new/.AML-train",
		strings.Repeat("n", 255), strings.Repeat("n", 256), "nul\x00"}
	for _, e := range there {
		names = append(names, e.Name())
	}
	for _, n := range names {
		list = append(list, n, n+"/", n+"/new", n+"/file", n+"/new/newer", "folder/../"+n)
	}
	return append(list, "", ".", "..", "/sys/new", "/sys/new/newer", "/sys/kernel", "/dev/null", "/dev/null/new",
		filepath.Join(os.Getenv("AML_TRAIN_TEST_STICKY"), "theirs"), strings.Repeat("deep/", 1000)+"new")
}

// What Check says of a place is what File then does, and what CheckFolder says what Open and
// Write do: for every kind of thing that can be in the way, in a checkout and elsewhere, for root and for
// whom permissions bind. Looking changes nothing, and a refusal names the place and what to do.
func TestCheck(t *testing.T) {
	if os.Geteuid() == 0 && os.Getenv("AML_TRAIN_TEST_AS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCheck$", "-test.v")
		cmd.Dir = t.TempDir()
		require.NoError(t, os.Chmod(cmd.Dir, 0o777))
		for dir := filepath.Dir(cmd.Dir); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
		self, err := os.ReadFile(os.Args[0]) // which may lie where nobody else may look
		require.NoError(t, err)
		cmd.Path = filepath.Join(cmd.Dir, "test")
		require.NoError(t, os.WriteFile(cmd.Path, self, 0o755))
		sticky := filepath.Join(cmd.Dir, "sticky")
		require.NoError(t, os.Mkdir(sticky, 0o777))
		require.NoError(t, os.WriteFile(sticky+"/theirs", []byte("precious"), 0o666))
		require.NoError(t, os.Chmod(sticky, os.ModeSticky|0o777))
		cmd.Env = append(os.Environ(), "AML_TRAIN_TEST_AS=nobody", "TMPDIR="+cmd.Dir, "AML_TRAIN_TEST_STICKY="+sticky)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "--- PASS: TestCheck")
	}
	other := t.TempDir()
	for _, where := range []string{"checkout", "elsewhere"} {
		for what, both := range map[string][2]func(string) error{
			"file":   {Check, func(name string) error { return File(name, strings.NewReader("new")) }},
			"folder": {func(dir string) error { return CheckFolder(dir) }, fill},
		} {
			refused, dir := 0, lay(t)
			for _, path := range places(dir) {
				if where == "elsewhere" {
					if t.Chdir(other); path != "" && !filepath.IsAbs(path) {
						path = dir + "/" + path
					}
					if what == "file" && filepath.Base(path) == "pipe" {
						continue // waits for a reader
					}
				}
				about := where + ", " + what + " " + path
				before := tree(t, dir)
				said := both[0](path)
				require.Equal(t, before, tree(t, dir), about)
				done := both[1](path)
				if said == nil {
					require.NoError(t, done, about)
					dir = lay(t)
					continue
				}
				refused++
				require.Error(t, done, "%s: %v", about, said)
				if what == "file" { // of a folder, it may be a file in it that tells
					require.Equal(t, said.Error(), done.Error(), about)
				}
				require.Regexp(t, "name (one|another|the|a file)", said.Error(), about)
				// of a link it names that, of a folder whose files are obeyed, that
				if link := (*LinkError)(nil); path != "" && !errors.As(said, &link) {
					require.Contains(t, said.Error(), filepath.Base(path), about)
				}
			}
			require.Greater(t, refused, 20, where+", "+what)
		}
	}
}

// fill opens a folder and writes to it.
func fill(dir string) error {
	f, err := Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write("new", bytes.NewReader(nil))
	return err
}

// Where several look at once, each finds what it would alone: none finds what another one made to find
// out, and none removes a folder that another one has opened to write to.
func TestCheckTogether(t *testing.T) {
	t.Chdir(t.TempDir())
	for range 20 {
		require.NoError(t, os.RemoveAll("out"))
		errs := make([]error, 40)
		var together sync.WaitGroup
		for i := range errs {
			dir := []string{"out", "out/deep", "out/deep/er"}[i%3]
			together.Go(func() {
				if i < 36 {
					errs[i] = CheckFolder(dir, "outputs")
				} else {
					errs[i] = fill(dir)
				}
			})
		}
		together.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, dir := range []string{"out", "out/deep", "out/deep/er"} {
			there, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, e := range there {
				require.NotRegexp(t, `^\.aml-train-`, e.Name())
			}
		}
	}
}

// What lies in a folder by the name of one that will be written to is looked at as well.
func TestCheckFolderBelow(t *testing.T) {
	for _, in := range []string{".", "/"} {
		dir := lay(t)
		if in == "/" {
			t.Chdir(t.TempDir())
		} else {
			dir = "."
		}
		require.NoError(t, CheckFolder(dir, "missing", "folder", "full"))
		for _, name := range []string{"file", "tofile", "dangling", "loop", "pipe", "tofolder"} {
			require.ErrorContains(t, CheckFolder(dir, "folder", name), name)
		}
	}
}

// Two names are one place, however they are written.
func TestWithin(t *testing.T) {
	dir := lay(t)
	for _, way := range []string{"", "./", dir + "/", "folder/../", "full/../folder/../"} {
		for _, back := range []string{"", dir + "/", "./"} {
			require.True(t, Within(way+"new", back+"new"), way)
			require.True(t, Within(way+"tofolder/new/newer", back+"folder/new"), way)
			require.True(t, Within(way+"folder/new", back+"tofolder/new"), way)
			require.False(t, Within(way+"new", back+"new/newer"), way)
			require.False(t, Within(way+"new", back+"newer"), way)
			require.False(t, Within(way+"tofolder/new", back+"new"), way)
		}
	}
}
