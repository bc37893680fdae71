//go:build !unix

package testenv

import "os/exec"

// asGroup has end end a program.
func asGroup(cmd *exec.Cmd) (end func()) { return func() { cmd.Process.Kill() } }
