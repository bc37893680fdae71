//go:build unix

package snapshot

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that is another at each look is an error that names it, and one that
// goes away while the folder is read is not there.
func TestChanging(t *testing.T) {
	// The kernel's files say that they are empty, and are not.
	err := hashFile("/proc/self", &File{Path: "status"}, make([]byte, 4096))
	require.ErrorContains(t, err, "status: it changed while it was read")
	require.ErrorIs(t, err, errChanged)
	err = hashFile(t.TempDir(), &File{Path: "gone"}, make([]byte, 10))
	require.ErrorContains(t, err, "gone: it was deleted while the snapshot was taken; run the command again")

	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	stop := make(chan struct{})
	done := make(chan error)
	go func() { // grows, shrinks, comes and goes
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			os.WriteFile(filepath.Join(dir, "b.py"), make([]byte, i%5000), 0o644)
			os.Remove(filepath.Join(dir, "c.py"))
			os.MkdirAll(filepath.Join(dir, "d", "e"), 0o755)
			os.WriteFile(filepath.Join(dir, "d", "e", "f.py"), nil, 0o644)
			os.RemoveAll(filepath.Join(dir, "d"))
			os.WriteFile(filepath.Join(dir, "c.py"), nil, 0o644)
		}
	}()
	taken := 0
	for range 300 {
		s, err := Take(context.Background(), dir, Options{})
		if err != nil {
			require.Regexp(t, "it changed while it was read|it was deleted while the snapshot was taken", err.Error())
			continue
		}
		taken++
		require.NotNil(t, s.Find("a.py"))
	}
	close(stop)
	require.NoError(t, <-done)
	require.NotZero(t, taken)
}

// A folder or file that cannot be read is named, unless nothing from it travels.
// Root reads everything, so it becomes somebody else for this.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		binary := filepath.Join(t.TempDir(), "test")
		text, err := os.ReadFile(os.Args[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(binary, text, 0o755))
		for d := filepath.Dir(binary); len(d) > len(os.TempDir()); d = filepath.Dir(d) {
			require.NoError(t, os.Chmod(d, 0o755))
		}
		cmd := exec.Command(binary, "-test.run=^TestUnreadable$", "-test.v")
		cmd.Dir = os.TempDir()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "--- PASS: TestUnreadable")
		return
	}
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1", "secret/key", "1")
	require.NoError(t, os.Chmod(filepath.Join(dir, "secret"), 0))
	defer os.Chmod(filepath.Join(dir, "secret"), 0o755)
	_, err := Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "secret: permission denied; make it readable or leave it out with a line "+
		"in .gitignore")
	write(t, dir, ".gitignore", "secret/\n")
	require.Equal(t, ".gitignore a.py", paths(take(t, dir)), "a folder that is ignored is never entered")
	require.NoError(t, os.Chmod(filepath.Join(dir, "a.py"), 0))
	_, err = Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "a.py: permission denied; make it readable or leave it out")
	require.NoError(t, os.Chmod(filepath.Join(dir, ".gitignore"), 0))
	_, err = Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "it says which files must not travel, so make it readable")
}

// A path that no program can open is an error, not a crash or a silent loss; one
// that is ignored does not matter.
func TestLongPath(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	at, name := root, strings.Repeat("d", 250)
	for range 20 {
		require.NoError(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		require.NoError(t, err)
		defer next.Close()
		at = next
	}
	f, err := at.Create("deep.py")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "file name too long: no program can open a path of that length; shorten it or "+
		"leave it out with a line in .gitignore")
	write(t, dir, ".gitignore", "ddd*/\n")
	require.Equal(t, ".gitignore a.py", paths(take(t, dir)))
	require.NoError(t, root.RemoveAll(name))
}

// Pipes, sockets and devices are left out, as git leaves them out; names that no
// store can hold are refused.
func TestSpecialFiles(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Symlink("loop2", filepath.Join(dir, "loop1")))
	require.NoError(t, os.Symlink("loop1", filepath.Join(dir, "loop2")))
	require.NoError(t, os.Symlink(".", filepath.Join(dir, "self")))
	require.Equal(t, "a.py loop1 loop2 self", paths(take(t, dir)))
	for _, name := range []string{"new\nline", "return\r", "\xff"} {
		write(t, dir, name, "1")
		_, err := Take(context.Background(), dir, Options{})
		require.ErrorContains(t, err, fmt.Sprintf("the name %q cannot be stored", name))
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
}
