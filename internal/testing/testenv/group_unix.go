//go:build unix

package testenv

import (
	"os/exec"
	"syscall"
)

// asGroup has a program that is to be started lead a group of processes, which end ends.
func asGroup(cmd *exec.Cmd) (end func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
