package hooks

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// process returns the parent of a process and its command line (proc(5)).
func process(pid int) (above int, args []string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, nil
	}
	// The name stands in parentheses and may hold anything; state and parent follow.
	if fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])); len(fields) > 1 {
		above, _ = strconv.Atoi(fields[1])
	}
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return above, strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
}
