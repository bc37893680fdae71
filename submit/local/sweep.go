package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
)

// A sweep is a run whose supervisor starts other runs, its trials: each has a supervisor of
// its own, as every run here has, and a copy of the sweep's files. The sweep's supervisor
// says which values a trial gets, ends those that the policy gives up, and records which is
// the best so far. Trials end with it: they are attached to it.

// maxLook is how often the values of running trials are looked at.
const maxLook = 100 * time.Millisecond

// sweepPlan is what the supervisor of a sweep needs to know besides what a trial runs.
type sweepPlan struct {
	job.Sweep
	Seed int64 // where the sampling has none
}

// sweepRun is a sweep while it runs. One goroutine changes it.
type sweepRun struct {
	t       *Target
	p       *plan
	run     *history.Run
	sampler *sweep.Sampler
	console *os.File

	trials  map[int]*trial
	running int
	ends    chan *trial // those whose supervisor has ended
	ended   int         // how many have, in all
	done    int         // of them, those that completed
	best    *trial
	broken  error // why no trial can be started any more
}

// trial is one run of a sweep.
type trial struct {
	number     int
	run        string
	values     []float64 // that it has logged of the primary metric
	looked     int       // how many of them the policy has judged
	policy     string    // why it ends it
	supervisor *supervisor
}

// interruptedWord starts the reason of a run that did not end by itself: a sweep that goes
// on starts such a trial again.
const interruptedWord = "interrupted: "

// runSweep runs the trials of a sweep.
func (t *Target) runSweep(ctx context.Context, p *plan, run *history.Run, dir *os.Root) outcome {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go listen(ctx, p, dir, stop)
	sampler, err := sweep.NewSampler(p.Sweep.SearchSpace, p.Sweep.Sampling, p.Sweep.Seed)
	if err != nil {
		return stopped(ctx, err)
	}
	console, err := t.Store.Files.OpenFile(path.Join(p.Artifacts, history.ConsoleLog), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return stopped(ctx, err)
	}
	defer console.Close()
	if err := t.share(ctx, p, console); err != nil {
		return stopped(ctx, err)
	}
	s := &sweepRun{t: t, p: p, run: run, sampler: sampler, console: console, trials: map[int]*trial{},
		ends: make(chan *trial)}
	if err := s.goOn(ctx); err != nil {
		return stopped(ctx, err)
	}
	if err := t.Store.SetStatus(ctx, p.Run, history.Running, ""); err != nil {
		return stopped(ctx, err)
	}
	ctx, release := p.limit(ctx)
	defer release()
	return s.execute(ctx)
}

// share makes what all trials have in common, once: data that are fetched, and an image
// that is built.
func (t *Target) share(ctx context.Context, p *plan, console *os.File) error {
	base, err := t.openBase(p.Run, false)
	if err != nil {
		return err
	}
	defer base.Close()
	for name, in := range p.Inputs {
		if in.Literal || !strings.HasPrefix(in.Path, "https://") {
			continue
		}
		dir := path.Join(inputsDir, name)
		file, err := download(ctx, in.Path, in.ETag, base, dir)
		if err != nil {
			return fmt.Errorf("inputs.%s: %w", name, err)
		}
		in.Path = filepath.Join(p.Base, filepath.FromSlash(file))
		in.Place = filepath.Join(p.Base, filepath.FromSlash(dir))
		p.Inputs[name] = in
	}
	if p.Build == nil {
		return nil
	}
	e, err := openEngine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := t.build(ctx, e, p, console); err != nil {
		return err
	}
	p.Build = nil // the trials find the image
	return nil
}

// most is how many trials run at the same time: as many as the job says, else as this
// machine has processors.
func (s *sweepRun) most() int {
	return cmp.Or(s.p.Sweep.Limits.MaxConcurrentTrials, runtime.NumCPU())
}

// execute starts trials and follows them to the last one's end.
func (s *sweepRun) execute(ctx context.Context) outcome {
	tick := time.NewTicker(maxLook)
	defer tick.Stop()
	if s.p.Sweep.EarlyTermination == nil {
		tick.Stop()
	}
	canceled := ctx.Done()
	for next := 0; ; {
		for s.broken == nil && ctx.Err() == nil && s.running < s.most() && next < s.p.Sweep.Limits.MaxTotalTrials {
			if !s.start(ctx, next) {
				next = math.MaxInt
				break
			}
			next++
		}
		if s.running == 0 {
			return s.outcome(ctx)
		}
		select {
		case t := <-s.ends:
			s.end(context.WithoutCancel(ctx), t)
		case <-tick.C:
			s.judge(ctx)
		case <-canceled:
			canceled = nil
			s.stop(ctx)
		}
	}
}

// start starts the trial of a number, unless it has ended before. It is false where there
// are no more values.
func (s *sweepRun) start(ctx context.Context, n int) bool {
	if s.trials[n] != nil {
		return true
	}
	values, ok := s.sampler.Trial(n)
	if !ok {
		return false
	}
	t := &trial{number: n}
	if err := s.spawn(ctx, t, values); err != nil {
		s.broken = fmt.Errorf("trial %d could not be started: %w", n, err)
		return true
	}
	s.trials[n] = t
	s.running++
	s.say("%s started: %s", t.run, assignments(values))
	go func() {
		<-t.supervisor.done
		s.ends <- t
	}()
	return true
}

func (s *sweepRun) say(format string, args ...any) { fmt.Fprintf(s.console, format+"\n", args...) }

// assignments are hyperparameters with their values, for people.
func assignments(values map[string]any) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+"="+job.Text(values[name]))
	}
	return strings.Join(out, " ")
}

// judge ends the trials that the policy gives up.
func (s *sweepRun) judge(ctx context.Context) {
	policy, objective := s.p.Sweep.EarlyTermination, s.p.Sweep.Objective
	for _, t := range s.trials {
		if t.supervisor == nil {
			continue
		}
		if values, err := s.t.Store.Series(ctx, t.run, objective.PrimaryMetric); err == nil {
			t.values = values
		}
	}
	var all [][]float64
	at := map[int]int{}
	for n, t := range s.trials {
		at[n] = len(all)
		all = append(all, t.values)
	}
	for n, t := range s.trials {
		if t.supervisor == nil || t.policy != "" || len(t.values) == t.looked {
			continue
		}
		why := policy.Ends(objective, all, at[n], t.looked)
		if t.looked = len(t.values); why != "" && s.t.cancel(ctx, t.run, why) == nil {
			t.policy = why
		}
	}
}

// stop ends all trials.
func (s *sweepRun) stop(ctx context.Context) {
	why := interruptedWord + "the sweep ended: " + context.Cause(ctx).Error()
	for _, t := range s.trials {
		if t.supervisor != nil {
			s.t.cancel(context.WithoutCancel(ctx), t.run, why) // one that has ended needs no end
		}
	}
}

// end records how a trial ended, and what is the best one now.
func (s *sweepRun) end(ctx context.Context, t *trial) {
	t.supervisor.release()
	t.supervisor = nil
	s.running--
	s.t.reconcile(ctx, t.run) // its supervisor may have been killed
	run, err := s.t.Store.Run(ctx, t.run)
	if err != nil {
		s.broken = err
		return
	}
	if strings.HasPrefix(run.Tag(history.TagError), interruptedWord) {
		s.say("%s %s", t.run, run.Status())
		return
	}
	if run.Status() != history.Canceled {
		t.policy = "" // it was faster
	}
	metric := s.p.Sweep.Objective.PrimaryMetric
	if t.values, err = s.t.Store.Series(ctx, t.run, metric); err != nil {
		s.broken = err
		return
	}
	tags := []history.KeyValue{}
	text := fmt.Sprintf("%s %s", t.run, run.Status())
	if value, ok := s.p.Sweep.Objective.Best(t.values); ok {
		tags = append(tags, history.KeyValue{Key: history.TagObjective, Value: strconv.FormatFloat(value, 'g', -1, 64)})
		text += fmt.Sprintf(": %s %.6g", metric, value)
	}
	if t.policy != "" {
		tags = append(tags, history.KeyValue{Key: history.TagPolicy, Value: t.policy})
	}
	if why := run.Tag(history.TagError); why != "" {
		text += ": " + why
	}
	if len(tags) > 0 {
		err = s.t.Store.SetTags(ctx, t.run, tags...)
	}
	if better := s.count(t, run); better {
		text += ", the best so far"
	}
	s.say("%s", text)
	s.broken = cmp.Or(s.broken, errors.Join(err, s.record(ctx)))
}

// count counts a trial that has ended, and tells whether it is the best.
func (s *sweepRun) count(t *trial, run *history.Run) bool {
	s.ended++
	if run.Status() != history.Completed {
		return false
	}
	s.done++
	o := s.p.Sweep.Objective
	value, ok := o.Best(t.values)
	if !ok {
		return false
	}
	if s.best != nil {
		if best, _ := o.Best(s.best.values); !o.Better(value, best) {
			return false
		}
	}
	s.best = t
	return true
}

// record logs the best value so far as the sweep's own: its curve over the trials that have
// ended is how the objective improved.
func (s *sweepRun) record(ctx context.Context) error {
	if s.best == nil {
		return nil
	}
	value, _ := s.p.Sweep.Objective.Best(s.best.values)
	return s.t.Store.LogBatch(ctx, s.p.Run, []history.Metric{{Key: s.p.Sweep.Objective.PrimaryMetric,
		Value: history.Float(value), Step: history.Int(s.ended), Timestamp: history.Int(time.Now().UnixMilli())}}, nil,
		[]history.KeyValue{{Key: history.TagBest, Value: s.best.run}})
}

// outcome is how the sweep ended. Trials that fail do not end it; where none completed, or
// none said how good it is, there is nothing to choose from.
func (s *sweepRun) outcome(ctx context.Context) outcome {
	metric := s.p.Sweep.Objective.PrimaryMetric
	switch {
	case ctx.Err() != nil:
		return outcome{status: history.Canceled, reason: context.Cause(ctx).Error()}
	case s.broken != nil:
		return outcome{status: history.Failed, reason: s.broken.Error()}
	case s.done == 0:
		return outcome{status: history.Failed, reason: fmt.Sprintf("none of %d trials completed; "+
			"the first failed: %s", s.ended, s.why(0))}
	case s.best == nil:
		return outcome{status: history.Failed, reason: fmt.Sprintf("no trial that completed has logged the primary "+
			"metric %s%s", metric, s.instead(metric))}
	}
	return outcome{status: history.Completed}
}

// why is why a trial did not complete.
func (s *sweepRun) why(n int) string {
	if t := s.trials[n]; t != nil {
		if run, err := s.t.Store.Run(context.Background(), t.run); err == nil {
			return cmp.Or(run.Tag(history.TagError), string(run.Status()))
		}
	}
	return "it is not in the history"
}

// instead names what trials have logged in place of the primary metric.
func (s *sweepRun) instead(metric string) string {
	names := map[string]bool{}
	for _, t := range s.trials {
		if run, err := s.t.Store.Run(context.Background(), t.run); err == nil {
			for _, m := range run.Data.Metrics {
				names[m.Key] = true
			}
		}
	}
	if len(names) == 0 {
		return ", nor any other"
	}
	logged := slices.Sorted(maps.Keys(names))
	return "; they have logged " + some(logged) + suggest.DidYouMean(metric, logged)
}

// goOn takes over what a sweep of that id did before: trials that ended stay, those that
// were interrupted are put aside, to be run again.
func (s *sweepRun) goOn(ctx context.Context) error {
	runs, err := s.t.Store.Trials(ctx, s.p.Run)
	if err != nil {
		return err
	}
	slices.SortStableFunc(runs, func(a, b *history.Run) int { return cmp.Compare(a.Info.EndTime, b.Info.EndTime) })
	for _, run := range runs {
		id := run.Info.RunID
		if !run.Status().Terminal() { // its supervisor notices by now that the sweep's is gone
			if err := s.t.awaitEnd(ctx, id); err != nil {
				return err
			}
			if run, err = s.t.Store.Run(ctx, id); err != nil {
				return err
			}
		}
		if strings.HasPrefix(run.Tag(history.TagError), interruptedWord) {
			if err := s.t.Store.ArchiveRun(ctx, id, true); err != nil {
				return err
			}
			continue
		}
		t := &trial{number: history.TrialNumber(id), run: id, policy: run.Tag(history.TagPolicy)}
		if t.values, err = s.t.Store.Series(ctx, id, s.p.Sweep.Objective.PrimaryMetric); err != nil {
			return err
		}
		s.trials[t.number] = t
		s.count(t, run)
	}
	if len(s.trials) > 0 {
		s.say("The sweep goes on; ended before: %s", size.Count(len(s.trials), "trial"))
	}
	return nil
}

// awaitEnd waits for a run to end whose supervisor is about to.
func (t *Target) awaitEnd(ctx context.Context, id string) error {
	dir, err := t.folder(id, false)
	if err == nil {
		defer dir.Close()
		lock, err := waitLock(ctx, dir)
		if err != nil {
			return err
		}
		lock.Close()
	}
	run, err := t.Store.Run(ctx, id)
	if err != nil || run.Status().Terminal() {
		return err
	}
	return t.interrupted(ctx, run)
}

// parametersTag are the hyperparameters of a trial, as TagTrial has them.
func parametersTag(values map[string]any) (string, error) {
	text, err := json.Marshal(values)
	return string(text), err
}

// seedOf is the seed of a sweep: the job's, else one by chance, which is written down.
func seedOf(s sweep.Sampling) string {
	if s.Seed != nil {
		return strconv.FormatInt(*s.Seed, 10)
	}
	return strconv.FormatInt(int64(rand.Uint32()), 10)
}
