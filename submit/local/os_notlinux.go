//go:build unix && !linux

package local

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

func adoptOrphans()     {}
func hasChildren() bool { return false }
func killOrphans()      {}
func killMarked(string) {}

func preallocate(*os.File, int64) {}

// group puts the command into a process group of its own.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func startAndWait(cmd *exec.Cmd, started, done chan<- error) {
	err := cmd.Start()
	started <- err
	if err == nil {
		done <- cmd.Wait()
	}
}

func fileTime() time.Time { return time.Now() }
