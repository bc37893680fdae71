package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// killall9 kills every process of the program that was started from this script's folder,
// all in one moment: each is stopped before the first is killed, else one could notice
// that another is gone.
func killall9(ts *testscript.TestScript, neg bool, args []string) {
	own := ownProcesses(ts)
	for _, pid := range own {
		ts.Check(syscall.Kill(pid, syscall.SIGSTOP))
	}
	if len(own) < 2 {
		ts.Fatalf("processes of the program: %v; expected a command and its supervisor", own)
	}
	for _, pid := range own {
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, pid := range own { // what it holds is let go of when it is gone, not when the signal is sent
		for {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, state, _ := bytes.Cut(stat, []byte(") "))
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)) // the first may go before the others
			if err != nil || bytes.HasPrefix(state, []byte("Z")) && len(threads) < 2 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// ownProcesses are those of the program that were started from this script's folder. A supervisor
// names the history on its command line. Of the command that started it nobody but root may read
// the environment, which tells where it works: it is the supervisor's parent.
func ownProcesses(ts *testscript.TestScript) (own []int) {
	work, parents := ts.Getenv("WORK"), map[int]int{}
	procs, err := filepath.Glob("/proc/[0-9]*")
	ts.Check(err)
	for _, p := range procs {
		text, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if program, _, _ := bytes.Cut(text, []byte{0}); err != nil || filepath.Base(string(program)) != "aml-train" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(p))
		ts.Check(err)
		stat, _ := os.ReadFile(filepath.Join(p, "stat")) // proc(5): PID (NAME) STATE PARENT ...
		if _, after, ok := bytes.Cut(stat, []byte(") ")); ok {
			if fields := bytes.Fields(after); len(fields) > 1 {
				parents[pid], _ = strconv.Atoi(string(fields[1]))
			}
		}
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if bytes.Contains(env, []byte("WORK="+work+"\x00")) || bytes.Contains(text, []byte(work+"/")) {
			own = append(own, pid)
		}
	}
	for _, pid := range own {
		if parent := parents[pid]; parents[parent] != 0 && !slices.Contains(own, parent) {
			own = append(own, parent)
		}
	}
	return own
}
