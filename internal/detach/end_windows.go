package detach

import "os/exec"

// End asks a command that Session was called for to end.
func End(cmd *exec.Cmd) error { return cmd.Process.Kill() }

// Kill ends it at once.
func Kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }
