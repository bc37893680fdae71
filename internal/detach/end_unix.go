//go:build unix

package detach

import (
	"os/exec"
	"syscall"
)

// End asks a command that Session was called for, and all that it started, to end.
func End(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

// Kill ends them at once.
func Kill(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
