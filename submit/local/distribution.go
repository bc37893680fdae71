package local

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/job"
)

// A distributed job is as many processes on this machine as one node of a cluster has.
// They find each other by the variables that Azure ML sets (learn.microsoft.com,
// "Distributed training with Azure Machine Learning": PyTorch, MPI, TensorFlow), on
// loopback.

// maxProcesses bounds what one job starts here.
const maxProcesses = 1024

// checkDistribution says why this machine cannot start a job's processes, "" where it can.
func checkDistribution(j *job.Job) string {
	d := j.Distribution
	switch {
	case d == nil:
		return ""
	case d.Type == "ray":
		return "the job is distributed with ray, and this machine starts no Ray cluster; remove the distribution, " +
			"and ray.init() starts one itself, or name a compute target"
	case InContainer(j):
		return fmt.Sprintf("the job is distributed (%s), and a container on this machine runs one process; start "+
			"the others from the command (torchrun --nproc_per_node, mpirun), train with this machine's own python "+
			"(--environment %s), or name a compute target", d.Type, job.UserManaged)
	case count(d) > maxProcesses:
		return fmt.Sprintf("the job asks for %d processes, and this machine starts at most %d; name a compute target",
			count(d), maxProcesses)
	case d.Type == "mpi" && isWindows:
		return "the job is distributed with MPI, which is not started on Windows; name a compute target"
	case d.Type == "mpi":
		if _, err := exec.LookPath("mpirun"); err != nil {
			return "the job is distributed with MPI, and there is no mpirun on PATH; install an MPI (Debian: " +
				"apt-get install openmpi-bin), or name a compute target"
		}
	}
	return ""
}

// count is how many processes a job asks for.
func count(d *job.Distribution) int {
	if d.Type == "tensorflow" {
		return max(d.WorkerCount, 1) + d.ParameterServerCount
	}
	return max(d.ProcessCountPerInstance, 1)
}

// distribute makes the processes of a distributed job.
func (g *processes) distribute(t *Target, p *plan, base *os.Root, command string) (err error) {
	if g.logs, err = t.Store.Files.OpenRoot(path.Join(p.Artifacts, path.Dir(history.ConsoleLog))); err != nil {
		return err
	}
	d := p.Distribution
	switch d.Type {
	case "mpi":
		return g.mpi(p, base, command)
	case "tensorflow":
		return g.tensorflow(d, command)
	}
	return g.pytorch(d, command)
}

// add makes a process with a log of its own. Env is what sets it apart.
func (g *processes) add(name, log, command string, env ...string) error {
	f, err := g.logs.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	g.files = append(g.files, f)
	cmd := shell(command)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, env
	g.list = append(g.list, &process{name: name, log: log, cmd: cmd})
	return nil
}

// pytorch sets what torch.distributed's env:// initialisation reads, and what torchrun
// sets besides.
func (g *processes) pytorch(d *job.Distribution, command string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	n := count(d)
	for i := range n {
		rank := strconv.Itoa(i)
		err := g.add(rankName(i, n), logName("process", i, n), command,
			"RANK="+rank, "LOCAL_RANK="+rank, "NODE_RANK=0", "GROUP_RANK=0",
			"WORLD_SIZE="+strconv.Itoa(n), "LOCAL_WORLD_SIZE="+strconv.Itoa(n),
			"MASTER_ADDR=127.0.0.1", "MASTER_PORT="+strconv.Itoa(ports[0]))
		if err != nil {
			return err
		}
	}
	return nil
}

// tensorflow tells each process the whole cluster and its own task in it
// (tensorflow.org, tf.distribute.cluster_resolver.TFConfigClusterResolver). The workers
// come first: worker 0 is the chief.
func (g *processes) tensorflow(d *job.Distribution, command string) error {
	type task struct {
		Type  string `json:"type"`
		Index int    `json:"index"`
	}
	workers := max(d.WorkerCount, 1)
	ports, err := freePorts(workers + d.ParameterServerCount)
	if err != nil {
		return err
	}
	cluster := map[string][]string{}
	var tasks []task
	for i, port := range ports {
		kind, index := "worker", i
		if i >= workers {
			kind, index = "ps", i-workers
		}
		cluster[kind] = append(cluster[kind], net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		tasks = append(tasks, task{kind, index})
	}
	for _, one := range tasks {
		text, err := json.Marshal(map[string]any{"cluster": cluster, "task": one, "environment": "cloud"})
		if err != nil {
			return err
		}
		name := fmt.Sprintf("worker %d of %d", one.Index, workers)
		if one.Type == "ps" {
			name = fmt.Sprintf("parameter server %d of %d", one.Index, d.ParameterServerCount)
		}
		if err := g.add(name, logName(one.Type, one.Index, len(cluster[one.Type])), command,
			"TF_CONFIG="+string(text)); err != nil {
			return err
		}
		g.list[len(g.list)-1].server = one.Type == "ps"
	}
	return nil
}

// rankOf starts a rank of MPI, with the folder of the logs, how many digits a rank has
// in their names, the folder in which it notes how it ended, the shell and the command.
// Open MPI, MPICH and Intel MPI, and Slurm's PMIx tell the rank. One that fails leaves
// the others a moment to fail too, before mpirun ends them.
const rankOf = `rank=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-$PMIX_RANK}}
exec >>"$0/$(printf "std_log_process_%0$1d.txt" "$rank")" 2>&1
"$3" -c "$4"
code=$?
if [ $code != 0 ]; then
	: >"$2/rank_$rank"
	echo "$rank $code" >>"$2/failures"
	sleep 0.3
fi
exit $code`

// mpi has mpirun start the ranks. Each writes its own log, and notes how it ended: of
// several that fail, mpirun does not always name the first.
func (g *processes) mpi(p *plan, base *os.Root, command string) (err error) {
	n := count(p.Distribution)
	for i := range n {
		f, err := g.logs.OpenFile(logName("process", i, n), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		g.files = append(g.files, f)
	}
	dir, err := home.Folder(base, ranksDir, true)
	if err != nil {
		return err
	}
	g.ranks = &ranks{dir}
	sh := shell(command).Path
	cmd := exec.Command("sh", "-c", `exec mpirun -np "$0" sh -c "$@"`, strconv.Itoa(n), rankOf,
		g.logs.Name(), strconv.Itoa(digits(n)), filepath.Join(p.Base, ranksDir), sh, command)
	cmd.Stdout, cmd.Stderr = g.console, g.console
	// As many ranks as the job asks for, whoever the user is, on whichever cores are free:
	// Open MPI until 4, and since 5.
	cmd.Env = []string{
		"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
		"OMPI_MCA_rmaps_base_oversubscribe=1", "OMPI_MCA_hwloc_base_binding_policy=none",
		"PRTE_ALLOW_RUN_AS_ROOT=1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1",
		"PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe", "PRTE_MCA_hwloc_default_binding_policy=none",
	}
	g.list = []*process{{name: "mpirun", cmd: cmd}}
	return nil
}

// ranks is the folder in which MPI's ranks note that they failed.
type ranks struct{ *os.Root }

// ranksDir is its name among a run's files.
const ranksDir = "ranks"

// failures returns the ranks of n that failed, in their order.
func (r *ranks) failures(n int) (all []failure) {
	for line := range strings.Lines(tail(r.Root, "failures", 64*maxProcesses)) {
		var rank, code int
		if _, err := fmt.Sscanf(line, "%d %d", &rank, &code); err != nil || rank < 0 || rank >= n {
			continue
		}
		f := failure{name: rankName(rank, n), log: logName("process", rank, n), reason: exitReason(code, "")}
		if code > 128 {
			f.signal = signalName(code - 128)
		}
		if info, err := r.Stat("rank_" + strconv.Itoa(rank)); err == nil {
			f.at = info.ModTime()
		}
		all = append(all, f)
	}
	return all
}

func rankName(i, n int) string { return fmt.Sprintf("process %d of %d", i, n) }

// logName is the name of a process's log, as Azure ML has it: its number has as many digits
// as the last one's.
func logName(kind string, i, n int) string {
	return fmt.Sprintf("std_log_%s_%0*d.txt", kind, digits(n), i)
}

func digits(n int) int { return len(strconv.Itoa(n - 1)) }

// freePorts returns ports of loopback on which nothing listens.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no free port for the job's processes: %w", err)
		}
		defer l.Close() // after the last is taken, so that all differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
