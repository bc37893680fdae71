package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// descent is a training whose result follows from its steps alone, of which none takes less
// than a millisecond. It keeps a checkpoint every ten steps, and writes down which steps it
// does, in a file of its own that no attempt takes back.
const descent = `
import json, os, sys, time
folder, steps = os.environ["AML_TRAIN_CHECKPOINTS"], int(sys.argv[1])
diary = os.open(os.environ["DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
try:
    with open(folder + "/state.json") as f:
        step, weight, chance, losses = json.load(f)
except FileNotFoundError:
    step, weight, chance, losses = 0, 10.0, 1, []
os.write(diary, b"begins %d\n" % step)
while step < steps:
    until = time.monotonic() + float(os.environ.get("STEP", 0.001))
    chance = chance * 1103515245 + 12345 & 0x7fffffff
    weight -= 0.01 * (weight - 3 + chance / 0x7fffffff - 0.5)
    step += 1
    if step % 100 == 0:
        losses.append((weight - 3) ** 2)
    while time.monotonic() < until:
        pass
    if step % 10 == 0:
        with open(folder + "/new.json", "w") as f:
            json.dump([step, weight, chance, losses], f)
        os.replace(folder + "/new.json", folder + "/state.json")
    os.write(diary, b"%d\n" % step)
os.makedirs("outputs", exist_ok=True)
with open("outputs/metrics.json", "w") as f:
    json.dump({"weight": weight, "loss": losses}, f)
`

// startOf is how long a program takes to start and end here and now.
func startOf(t *testing.T, name string, args ...string) time.Duration {
	var took []time.Duration
	for range 5 {
		begin := time.Now()
		require.NoError(t, exec.Command(name, args...).Run())
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestEvictions ends a run at a hundred moments by chance, each time as a machine that is
// taken away does. It comes to the same metrics as one that was left alone, and no attempt
// does more than the steps since the last checkpoint again.
func TestEvictions(t *testing.T) {
	testenv.Program(t, "python3")
	p := plantation(t)
	start := min(startOf(t, "python3", "-S", "-c", "import json, os, sys, time"), 150*time.Millisecond)
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 3))
	var after []string
	var all time.Duration
	for range testenv.Cases(100) {
		d := start/2 + time.Duration(r.Int64N(int64(2*start)))
		all += d
		after = append(after, d.String())
	}
	steps := int(all/time.Millisecond) + 100 // more than the attempts that are ended can do
	p.write(t, "repo/descent.py", descent)
	diary := filepath.Join(t.TempDir(), "diary")
	metrics := func(args ...string) (m map[string]float64) {
		cmd := p.command(append([]string{"run", "--command", fmt.Sprint("exec python3 -S descent.py ", steps),
			"--checkpoints", "--env", "DIARY=" + diary, "--json"}, args...)...)
		out, err := cmd.Output()
		require.NoError(t, err, string(out))
		var run struct{ Metrics map[string]float64 }
		require.NoError(t, json.Unmarshal(out, &run))
		return run.Metrics
	}
	alone := metrics("--env", "STEP=0")
	require.Len(t, alone, 2)
	require.NoError(t, os.Remove(diary))
	require.Equal(t, alone, metrics("--preempt-after", strings.Join(after, ",")))

	text, err := os.ReadFile(diary)
	require.NoError(t, err)
	done, attempts, resumed := 0, 0, 0
	for line := range strings.Lines(string(text)) {
		var step int
		if n, _ := fmt.Sscanf(line, "begins %d", &step); n == 1 {
			require.LessOrEqual(t, done-step, 10, "attempt %d begins at step %d of %d", attempts+1, step, done)
			require.LessOrEqual(t, step, done+1) // of the step that it was at, it may not have written so
			if attempts++; step > 0 {
				resumed++
			}
			done = step
			continue
		}
		_, err := fmt.Sscan(line, &done)
		require.NoError(t, err)
	}
	require.Equal(t, steps, done)
	require.Positive(t, resumed)
	t.Logf("%d evictions, %d attempts that began a step, %d of them from a checkpoint", len(after), attempts, resumed)
}
