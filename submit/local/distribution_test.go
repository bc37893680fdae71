package local

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
)

// distributed runs a command as a job's processes and returns how it ended, with the
// console.
func distributed(t *testing.T, ctx context.Context, d *job.Distribution, command string) (outcome, string) {
	t.Helper()
	store, err := history.Open(filepath.Join(t.TempDir(), "home"))
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, store.Files.MkdirAll("artifacts/user_logs", 0o755))
	console, err := store.Files.OpenFile("artifacts/"+history.ConsoleLog, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	require.NoError(t, err)
	defer console.Close()
	dir := t.TempDir()
	base, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer base.Close()
	p := &plan{Run: "test", Base: dir, Work: dir, Artifacts: "artifacts", Distribution: d}
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir}
	g, err := (&Target{Store: store}).processes(p, base, command, env, console)
	require.NoError(t, err)
	defer g.close()
	end := g.execute(ctx)
	text, err := store.Files.ReadFile("artifacts/" + history.ConsoleLog)
	require.NoError(t, err)
	return end, string(text)
}

// ring is processes that know of each other's end at once, and fail of it: each is
// connected to the first. The one of the given rank dies when all are there.
const ring = `
import os, signal, socket, sys, time
victim, how = int(sys.argv[1]), sys.argv[2]
rank, world, port = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["MASTER_PORT"])
print("rank", rank, "is there", flush=True)
def die():
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raise":
        raise ValueError("rank %d broke" % rank)
    os._exit(41)
if rank == 0:
    server = socket.create_server(("127.0.0.1", port))
    peers = [server.accept()[0] for _ in range(world - 1)]
    for p in peers:
        p.send(b".")
    if victim == 0:
        die()
    import select
    select.select(peers, [], [])
else:
    while True:
        try:
            peer = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.005)
    peer.recv(1)
    if rank == victim:
        die()
    if not peer.recv(1):
        raise ConnectionResetError("connection closed by peer")
raise RuntimeError("[rank 0] gloo: connection closed by peer")
`

// TestFirstToFail kills a random one of eight processes, of which the others then fail
// within a millisecond: it is the one that is named, and its log is the last.
func TestFirstToFail(t *testing.T) {
	python := testenv.Program(t, "python3")
	script := filepath.Join(t.TempDir(), "ring.py")
	require.NoError(t, os.WriteFile(script, []byte(ring), 0o644))
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	for i := range testenv.Cases(100) {
		victim, how := r.IntN(8), []string{"kill", "raise", "exit"}[i%3]
		end, console := distributed(t, t.Context(), &job.Distribution{Type: "pytorch", ProcessCountPerInstance: 8},
			fmt.Sprintf("exec %s -S %s %d %s", python, script, victim, how))
		require.Equal(t, history.Failed, end.status)
		name := fmt.Sprintf("process %d of 8 failed first: ", victim)
		reason := map[string]string{
			"kill": outOfMemory, "raise": "the command exited with status 1",
			"exit": "the command exited with status 41",
		}[how]
		require.Equal(t, name+reason, end.reason, "case %d\n%s", i, console)
		require.Contains(t, lastPart(console), fmt.Sprintf("rank %d is there\n", victim))
		if how == "raise" {
			require.True(t, strings.HasSuffix(console, fmt.Sprintf("ValueError: rank %d broke\n", victim)), console)
		}
	}
}

// lastPart is the log of the process that failed, with which a console ends.
func lastPart(console string) string {
	parts := strings.Split(console, "The end of its log, ")
	return parts[len(parts)-1]
}

// TestFirstRankToFail is the same with MPI's ranks, which mpirun ends.
func TestFirstRankToFail(t *testing.T) {
	testenv.Program(t, "mpirun")
	for i := range testenv.Cases(20) {
		victim, status := i%4, 11+i
		end, console := distributed(t, t.Context(), &job.Distribution{Type: "mpi", ProcessCountPerInstance: 4},
			fmt.Sprintf(
				`echo rank $OMPI_COMM_WORLD_RANK; touch up_$OMPI_COMM_WORLD_RANK
			until test -e up_0 && test -e up_1 && test -e up_2 && test -e up_3; do sleep 0.01; done
			test $OMPI_COMM_WORLD_RANK != %d || exit %d
			trap 'exit 3' TERM; while :; do sleep 0.01; done`, victim, status))
		require.Equal(t, history.Failed, end.status)
		require.Equal(t, fmt.Sprintf("process %d of 4 failed first: the command exited with status %d", victim,
			status), end.reason, console)
		require.Contains(t, lastPart(console), fmt.Sprintf("std_log_process_%d.txt:\nrank %d\n", victim, victim))
	}
}

// TestMPI has each rank write its own log.
func TestMPI(t *testing.T) {
	testenv.Program(t, "mpirun")
	end, console := distributed(t, t.Context(), &job.Distribution{Type: "mpi", ProcessCountPerInstance: 12},
		`echo "it's $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE" "on  $HOSTNAME"`)
	require.Equal(t, outcome{status: history.Completed}, end, console)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, "it's 0 of 12 on  "+host+"\n", console)
}

// TestDistributedCancel ends all, the deaf too.
func TestDistributedCancel(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, stop := context.WithCancelCause(t.Context())
	go func() {
		for {
			if text, _ := os.ReadFile(pids); strings.Count(string(text), "\n") == 3 {
				stop(fmt.Errorf("enough"))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	end, _ := distributed(t, ctx, &job.Distribution{Type: "pytorch", ProcessCountPerInstance: 3},
		"trap '' TERM; echo $$ >>"+pids+"; while :; do sleep 1; done")
	require.Equal(t, outcome{status: history.Canceled, reason: "enough"}, end)
	text, err := os.ReadFile(pids)
	require.NoError(t, err)
	for _, pid := range strings.Fields(string(text)) {
		require.Error(t, exec.Command("kill", "-0", pid).Run())
	}
}

// TestVariables compares what each process finds with what a cluster's would.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	end, console := distributed(t, t.Context(), &job.Distribution{Type: "tensorflow", WorkerCount: 3,
		ParameterServerCount: 2},
		`echo "$TF_CONFIG" >>`+filepath.Join(dir, "all"))
	require.Equal(t, outcome{status: history.Completed}, end, console)
	text, err := os.ReadFile(filepath.Join(dir, "all"))
	require.NoError(t, err)
	seen, ports := map[string]bool{}, map[string]bool{}
	var first map[string][]string
	for line := range strings.Lines(string(text)) {
		var c struct {
			Cluster map[string][]string
			Task    struct {
				Type  string
				Index int
			}
		}
		require.NoError(t, json.Unmarshal([]byte(line), &c))
		if first == nil {
			first = c.Cluster
		}
		require.Equal(t, first, c.Cluster, "all know the same cluster")
		seen[c.Task.Type+strconv.Itoa(c.Task.Index)] = true
		ports[c.Cluster[c.Task.Type][c.Task.Index]] = true
	}
	require.Subset(t, seen, map[string]bool{"worker0": true, "worker1": true, "worker2": true})
	require.Len(t, first["worker"], 3)
	require.Len(t, first["ps"], 2)
	require.Len(t, ports, len(seen))
}
