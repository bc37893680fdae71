package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/windows"

	"github.com/org/aml-train/internal/detach"
)

// tryLock takes the lock of the run whose folder dir is, nil where somebody else holds
// it.
func tryLock(dir *os.Root) (*os.File, error) {
	f, err := dir.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{})
	if err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			return nil, nil
		}
		return nil, err
	}
	return f, nil
}

// InheritedLock is nil: Windows does not hand a lock over. The supervisor takes
// it when Submit lets go.
func InheritedLock() *os.File { return nil }

func detached(cmd *exec.Cmd, _ *os.File) { detach.Session(cmd) }

func shell(command string) *exec.Cmd {
	if bash, err := exec.LookPath("bash"); err == nil {
		return exec.Command(bash, "-c", command)
	}
	return exec.Command("cmd", "/C", command)
}

func adoptOrphans()     {}
func killMarked(string) {}

func preallocate(*os.File, int64) {}

func group(*exec.Cmd) {}

func startAndWait(cmd *exec.Cmd, started, done chan<- error) {
	err := cmd.Start()
	started <- err
	if err == nil {
		done <- cmd.Wait()
	}
}

// terminate ends the command and its children; Windows has no gentler way that
// reaches a program without a window.
func terminate(cmd *exec.Cmd) {
	exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
}

func waitGroup(*exec.Cmd, time.Duration) {}
func killAll(cmd *exec.Cmd)              { terminate(cmd) }

func exitStatus(e *exec.ExitError) (int, string) { return e.ExitCode(), "" }
func signalName(int) string                      { return "" }

// rename moves a file or folder from one open folder to another, whose parents have
// been looked at.
func rename(from *os.Root, name string, to *os.Root, target string) error {
	return os.Rename(filepath.Join(from.Name(), filepath.FromSlash(name)),
		filepath.Join(to.Name(), filepath.FromSlash(target)))
}

func fileTime() time.Time { return time.Now() }
