package train

import (
	"context"
	"maps"
	"os"
	"strconv"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
)

// Repeats says how often a job is trained, each time with another seed, so that what chance
// makes can be told from what a change makes.
type Repeats struct {
	Seeds  int    // that often; 0 and 1 are once
	AtMost int    // or until the verdict is decided, but not more often; 0 where Seeds counts
	Input  string // the input of the job that is the seed; "" for SeedInput
}

// SeedInput is the input that is the seed where nobody names one.
const SeedInput = "seed"

func (p Repeats) input() string {
	if p.Input == "" {
		return SeedInput
	}
	return p.Input
}

// several tells whether the job may be trained more than once.
func (p Repeats) several() bool { return p.Seeds > 1 || p.AtMost > 1 }

// String is what history.TagRepeats says.
func (p Repeats) String() string {
	switch {
	case p.AtMost > 1:
		return history.RepeatsDecided(p.AtMost)
	case p.Seeds > 1:
		return strconv.Itoa(p.Seeds)
	}
	return ""
}

// repeatable tells whether a job can be trained with several seeds.
func (s *submission) repeatable(r Request) error {
	p := s.repeats
	if !p.several() || !s.Job.Sound("command") {
		return nil
	}
	in, has := s.Job.Inputs[p.input()]
	name := p.input()
	switch {
	case s.Job.Sweep != nil:
		return mistake.Errorf("repeats trains a job with several seeds, and this one is a sweep: give its trials " +
			"a seed in search_space, or leave repeats out (--repeats 1)")
	case r.Resume:
		return nil // which is refused without a sweep
	case s.Job.Name != "":
		return mistake.Errorf("repeats makes several runs, and the job's name, %s, is that of one: leave name "+
			"out (--repeats 1 trains once)", s.Job.Name)
	case !s.Job.Uses(name):
		return mistake.Errorf("repeats trains with several seeds, and the command uses no ${{inputs.%s}}: hand "+
			"it to the script, as in \"python train.py --seed ${{inputs.%s}}\" with the input %s: 1, or name the "+
			"input that is the seed (repeats.input in the settings); --repeats 1 trains once", name, name, name)
	case !has: // which is a problem of the job
		return nil
	case !in.Literal:
		return mistake.Errorf("repeats counts up from the value of the input %s, which is data; a seed is a whole "+
			"number", name)
	}
	if first, err := strconv.ParseInt(in.Value, 10, 64); err != nil || first+int64(max(p.Seeds, p.AtMost)) < first {
		return mistake.Errorf("repeats counts up from the value of the input %s, which is %q; a seed is a whole "+
			"number", name, in.Value)
	}
	return nil
}

// seeded is the submission of the nth repeat, from 0 on: the first has the job's own seed.
func (s *submission) seeded(n int) *submission {
	one, j := *s, *s.Job
	name := s.repeats.input()
	in := j.Inputs[name]
	first, _ := strconv.ParseInt(in.Value, 10, 64) // which repeatable has read
	in.Value = strconv.FormatInt(first+int64(n), 10)
	j.Inputs = maps.Clone(j.Inputs)
	j.Inputs[name] = in
	one.Job, one.quiet = &j, n > 0
	if n > 0 {
		one.begin = time.Now()
	}
	return &one
}

// freeze keeps the files as they are: a repeat trains what the first one did, whatever
// becomes of the working tree meanwhile. The returned function removes what it kept.
func (s *submission) freeze() (done func(), err error) {
	if !s.here || s.Snapshot == nil || s.Commit != nil {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "aml-train-")
	if err != nil {
		return nil, err
	}
	done = func() { os.RemoveAll(dir) }
	if err := s.Snapshot.Freeze(dir); err != nil {
		done()
		return nil, mistake.Of(err)
	}
	return done, nil
}

// series is a job's repeats while they are made.
type series struct {
	t  *Trainer
	r  Request
	s  *submission
	at Session

	made int          // how many were begun
	last *history.Run // that ended: the last that completed, or the first that did not
	told bool         // that it has
}

// ended notes the end of a run.
func (q *series) ended(ctx context.Context, run *history.Run) {
	if q.bad() {
		q.t.Tell.Repeated(ctx, q.at, run)
		return
	}
	q.passed(ctx)
	q.last, q.told = run, false
}

// passed tells of the last run, as another one follows which is reported.
func (q *series) passed(ctx context.Context) {
	if q.last != nil && !q.told && !q.bad() {
		q.t.Tell.Repeated(ctx, q.at, q.last)
		q.told = true
	}
}

// bad tells whether one did not complete.
func (q *series) bad() bool { return q.last != nil && q.last.Status() != history.Completed }

// repeat trains a job with one seed after the other: on this machine one run at a time, in a
// workspace as many beside each other as are wanted. One that does not complete ends it, and is
// reported; else the last one is, with those that it repeats.
func (t *Trainer) repeat(ctx context.Context, r Request, s *submission, at Session) error {
	if err := t.holds(ctx); err != nil {
		return err
	}
	done, err := s.freeze()
	if err != nil {
		return err
	}
	defer done()
	q := &series{t: t, r: r, s: s, at: at}
	more := s.repeats.Seeds
	if s.repeats.AtMost > 0 {
		more = 1
	}
	for more > 0 && !q.bad() {
		if err := q.group(ctx, more); err != nil {
			return err
		}
		if more = 0; s.repeats.AtMost > 0 && !q.bad() {
			if more, err = t.More(ctx, at, q.last, q.made, s.repeats.AtMost); err != nil {
				return err
			}
		}
	}
	s.close()
	return t.Tell.Report(ctx, at, q.last)
}

// group makes the next n repeats and waits for them. One that fails on this machine ends it;
// in a workspace the others have been started.
func (q *series) group(ctx context.Context, n int) error {
	var open []*history.Run
	for range n {
		run, err := q.next(ctx)
		if err != nil { // those that were submitted are what they are
			q.await(ctx, open)
			return err
		}
		if run == nil {
			continue
		}
		if open = append(open, run); q.s.here {
			if err := q.await(ctx, open); err != nil || q.bad() {
				return err
			}
			open = nil
		}
	}
	return q.await(ctx, open)
}

// next submits the next repeat; it returns nil where one is reused.
func (q *series) next(ctx context.Context) (*history.Run, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.passed(ctx)
	one := q.s.seeded(q.made)
	q.made++
	found, err := q.t.find(ctx, q.r, one, q.at)
	q.s.Versions, q.s.versioned = one.Versions, one.versioned
	if err != nil {
		return nil, err
	}
	if found != nil {
		q.t.Tell.Reused(ctx, q.at, *found)
		q.ended(ctx, found.Run)
		return nil, nil
	}
	if q.r.Known {
		return nil, mistake.Of(errUnknown)
	}
	return q.t.submit(ctx, one, q.at)
}

func (q *series) await(ctx context.Context, open []*history.Run) error {
	return q.t.await(ctx, q.at, open, q.r.Cancel, func(run *history.Run) { q.ended(ctx, run) })
}
