//go:build !linux

package hooks

import (
	"os/exec"
	"strconv"
	"strings"
)

// process returns the parent of a process and its command line, as ps knows them;
// nothing on Windows, which has no ps of that kind.
func process(pid int) (above int, args []string) {
	out, err := exec.Command("ps", "-o", "ppid=,args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, nil
	}
	fields := strings.Fields(string(out))
	if len(fields) == 0 {
		return 0, nil
	}
	above, _ = strconv.Atoi(fields[0])
	return above, fields[1:]
}
