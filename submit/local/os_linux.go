package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes the processes that a command leaves behind children of this
// one, wherever they hid, so that killOrphans finds them.
func adoptOrphans() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// group puts the command into a process group of its own, and lets the kernel
// kill it should this process be killed.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// startAndWait keeps its thread: to the kernel it is the parent whose death kills
// the command.
func startAndWait(cmd *exec.Cmd, started, done chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		done <- cmd.Wait()
	}
}

// preallocate reserves the first bytes of a file without making it longer.
func preallocate(f *os.File, bytes int64) {
	unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes)
}

// killMarked kills every process that has the variable in its environment.
func killMarked(variable string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if string(kv) == variable {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

func children() []int {
	var out []int
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/children", t.Name()))
		for _, f := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(f)); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// hasChildren buries those that have ended and tells whether any lives. It is
// called once the command itself has been waited for.
func hasChildren() bool {
	for _, pid := range children() {
		var status syscall.WaitStatus
		syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	}
	return len(children()) > 0
}

// killOrphans kills every child, and theirs, which become children in turn. So a process executes one
// run at a time: those of another one would be killed as well.
func killOrphans() {
	for range 200 {
		left := children()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
			var status syscall.WaitStatus
			syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fileTime is now, by the clock that file systems write down: it is some milliseconds
// behind, and the same for all.
func fileTime() time.Time {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) != nil {
		return time.Now()
	}
	return time.Unix(now.Unix())
}
