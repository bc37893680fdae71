//go:build unix

package local

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// trained take their time when they are asked to end, as one that writes its checkpoint does; the
// second has others do that, of which each starts the next one and ends.
var trained = map[string]string{
	"worker.sh": `trap 'sleep 0.2; echo saved >>"$SAVED"; exit 1' TERM
echo working
while :; do sleep 0.05; done
`,
	"relay.sh": `trap 'trap "" TERM; sh next.sh 15 & exit 1' TERM
echo working
while :; do sleep 0.05; done
`,
	"next.sh": `if [ $1 -gt 0 ]; then sh next.sh $(($1 - 1)) & exit; fi
sleep 0.2
echo saved >>"$SAVED"
`,
}

// A container's command ends when the script has, not when the shell in front of it has,
// whichever shell the image has and whatever the command looks like. This test stands for
// docker-init: it asks the process group to end, and kills it when the first process ended.
func TestShellOfContainer(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"dash", "bash", "busybox"} { // Debian's sh, Fedora's, Alpine's
		shell := testenv.Program(t, name)
		for range testenv.Cases(20) {
			command, workers := randomCommand(random, 2)
			t.Run(name+": "+command, func(t *testing.T) {
				t.Parallel()
				require.Equal(t, workers, endCommand(t, shell, command, workers))
			})
		}
	}
}

// randomCommand returns a command in which that many workers run at once.
func randomCommand(random *rand.Rand, depth int) (command string, workers int) {
	if depth == 0 {
		return []string{"sh worker.sh", "sh relay.sh"}[random.IntN(2)], 1
	}
	one, n := randomCommand(random, depth-1)
	switch random.IntN(9) {
	case 0:
		return one + " && echo never", n
	case 1:
		return "{ " + one + "; } | cat", n // of "a & wait | cat", the script would be left behind
	case 2:
		return "( " + one + " )", n
	case 3:
		return "{ " + one + "; } & wait", n
	case 4:
		two, m := randomCommand(random, depth-1)
		return "{ " + one + "; } & { " + two + "; }", n + m
	case 5:
		return "env A=b sh -c '" + strings.ReplaceAll(one, "'", `'\''`) + "; exit 3'", n
	case 6:
		return "if true; then " + one + "; fi; exit 4", n
	case 7:
		return "exec sh -c '" + strings.ReplaceAll(one, "'", `'\''`) + "'", n
	}
	return one, n
}

// endCommand runs a command as the container of a run does, asks it to end once all its
// workers work, and returns how many of them came to their end.
func endCommand(t *testing.T, shell, command string, workers int) (saved int) {
	dir := t.TempDir()
	for name, text := range trained {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	cmd := exec.Command(shell, "-c", shellOf, command)
	cmd.Args[0] = "sh" // as which busybox is a shell, and bash one in its POSIX mode
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "SAVED="+filepath.Join(dir, "saved"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd.Stdout = w
	require.NoError(t, cmd.Start())
	w.Close()
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	lines := bufio.NewScanner(r)
	for range workers {
		require.True(t, lines.Scan())
	}
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM))
	cmd.Wait() // the command's exit code, which is not the question here
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	b, err := os.ReadFile(filepath.Join(dir, "saved"))
	require.NoError(t, err, fmt.Sprint(cmd.ProcessState))
	return strings.Count(string(b), "saved")
}
