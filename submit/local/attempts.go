package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
)

// A cluster of low priority takes a job's machine away, and starts the job again on another
// one: from its beginning, with its files as they were submitted and the named outputs as
// they are (learn.microsoft.com, "Manage an Azure Machine Learning compute cluster", low
// priority). The same can be rehearsed here: each attempt but the last one is ended after a
// while, and the next one gets the snapshot anew, and the named outputs as they stand.

// errEvicted is why an attempt ends that is not the last one.
var errEvicted = errors.New("the run was evicted")

// firstDir, in a run's folder, is the copy as it was before the first attempt.
const firstDir = "first"

// attempts runs the command until an attempt comes to an end of its own.
func (t *Target) attempts(
	ctx context.Context, p *plan, base *os.Root, console io.Writer, run func(context.Context) outcome,
) outcome {
	if len(p.Evictions) > 0 {
		if err := t.replicate(p.Run, path.Join(p.Run, firstDir), p.within()); err != nil {
			return stopped(ctx, err)
		}
	}
	for n := 1; ; n++ {
		end := run(ctx)
		switch {
		case !end.evicted && len(p.Evictions) > 0:
			end.warnings = append(end.warnings,
				fmt.Sprintf("attempt %d ended by itself, before it was evicted after %s", n, p.Evictions[0]))
			return end
		case !end.evicted:
			return end
		}
		fmt.Fprintf(console, "aml-train: attempt %d was evicted after %s; attempt %d begins with the snapshot%s\n",
			n, p.Evictions[0], n+1, p.kept())
		p.spent += p.Evictions[0]
		p.Evictions = p.Evictions[1:]
		if err := t.renew(p, base); err != nil {
			return stopped(ctx, fmt.Errorf("attempt %d could not begin: %w", n+1, err))
		}
		t.Store.SetTags(ctx, p.Run, history.KeyValue{Key: history.TagAttempts, Value: strconv.Itoa(n + 1)})
	}
}

// kept names what an attempt finds of the one before.
func (p *plan) kept() string {
	if _, ok := p.Outputs[job.Checkpoints]; ok {
		return " and its checkpoints"
	}
	if len(p.Outputs) > 0 {
		return " and its named outputs"
	}
	return " alone: the job has no output checkpoints (--checkpoints)"
}

// renew brings a run's folder to what it was before the first attempt, but for the named
// outputs.
func (t *Target) renew(p *plan, base *os.Root) error {
	for _, name := range []string{workDir, spareList, toolsDir, pythonDir, ranksDir} {
		removeAll(base, name)
	}
	p.carried = nil
	if _, err := base.Lstat(workDir); err == nil {
		return fmt.Errorf("%s cannot be removed", filepath.Join(p.Base, workDir))
	}
	return t.replicate(path.Join(p.Run, firstDir), p.Run, p.within())
}

// tellCheckpoints tells the script where its checkpoints are. Values are what the command
// line names, by expression.
func (p *plan) tellCheckpoints(env, values map[string]string) {
	if out, ok := p.Outputs[job.Checkpoints]; ok && out.Type != job.URIFile && env != nil {
		env[job.CheckpointsVariable] = values["outputs."+job.Checkpoints]
	}
}
