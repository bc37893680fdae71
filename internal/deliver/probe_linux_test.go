package deliver

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Nothing is seen of a look at a place: another job that starts then has no file of it in its snapshot.
func TestCheckIsNotSeen(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "seen") // of all file systems, this one makes files without a name
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	t.Chdir(dir)
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE)
	require.NoError(t, err)
	for _, name := range []string{"new", "new.md", "a/b/c"} {
		require.NoError(t, CheckFolder(name))
	}
	require.NoError(t, CheckFolder("."))
	require.NoError(t, Check("report.md"))
	_, err = unix.Read(fd, make([]byte, 4096))
	require.ErrorIs(t, err, unix.EAGAIN, "nothing was made")
	require.NoError(t, File("report.md", strings.NewReader("new")))
	_, err = unix.Read(fd, make([]byte, 4096))
	require.NoError(t, err, "what is made is seen")
}
