// Package detach answers: how does a program outlive the one that starts it?
package detach

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// Session starts a command, once it is started, without the console of this one, so
// that neither Ctrl-C nor the end of the console reaches it.
func Session(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}
