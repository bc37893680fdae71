//go:build !unix

package main

import "os/exec"

// asGroup has end end a program.
func asGroup(cmd *exec.Cmd) (end func()) { return func() { cmd.Process.Kill() } }
