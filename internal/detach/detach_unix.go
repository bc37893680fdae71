//go:build unix

// Package detach answers: how does a program outlive the one that starts it, or end with all
// that it started?
package detach

import (
	"os/exec"
	"syscall"
)

// Session puts a command that is not started yet into a session of its own, so that
// neither Ctrl-C nor the end of the terminal reaches it.
func Session(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
