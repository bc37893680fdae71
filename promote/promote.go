// Package promote answers: which version of a registered model does a run become?
//
// One version for a run, whichever of its requests fails, however often it is promoted and by
// how many at once: no registry has a request that makes a version unless there is one, so a
// version is looked for by its tags before one is made and after, and where two were made, all
// agree on which of them stays. The words are MLflow's: a registered model has versions, each
// with its source run, and aliases, each of which names one of them (mlflow.org, "MLflow Model
// Registry").
package promote

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
)

// Registry holds registered models: a *history.Client is that of an MLflow server, a
// *history.Store that of this machine, an *azureml.Models that of a workspace.
type Registry interface {
	// ModelVersions lists all versions of a registered model with their tags and aliases, by
	// number; none where there is no such model.
	ModelVersions(ctx context.Context, model string) ([]*history.ModelVersion, error)
	// AddModelVersion adds a version with the source, run and tags of v, and makes the
	// registered model where there is none. Only the list says whether it was made.
	AddModelVersion(ctx context.Context, v history.ModelVersion) error
	// RemoveModelVersion removes a version. One that is not there is no error.
	RemoveModelVersion(ctx context.Context, model, version string) error
	TagModelVersion(ctx context.Context, model, version, key, value string) error
	// AliasModel has an alias name a version, and no other one.
	AliasModel(ctx context.Context, model, alias, version string) error
}

// Tags of a version that a run has become. The history here keeps their names from scripts.
const (
	TagIdentity = "aml-train.promoted" // tells the run from all others, wherever it is known
	TagRun      = "aml-train.run"      // its id, for people
	TagCommit   = "aml-train.commit"   // the commit that was promoted last with it
)

// Unfit says why a run becomes no version of anything, "" where it may: broken are the rules that it
// does not keep.
func Unfit(run *history.Run, broken []string) string {
	switch {
	case run.Status() != history.Completed:
		return fmt.Sprintf("it is %s", run.Status())
	case len(broken) > 0:
		return "it does not keep " + strings.Join(broken, ", ")
	}
	return ""
}

// Promotion is what is to be promoted.
type Promotion struct {
	Model, Alias string // Alias is "" for none
	Identity     string // see Identity
	Run          string // its id, for people
	Commit       string // of the branch, that brought what the run has trained
	Series       string // which job it is a run of, history.TagSeries

	// Version says what the version is: its source, once the registry can have its files, the
	// run that it names as its own, and tags of its own. It is called where one has to be made.
	Version func(context.Context) (history.ModelVersion, error)

	// Before tells whether a commit is an ancestor of another one: the alias stays with the
	// version of a later merge, in whatever order they are promoted. Nil is for who names a run.
	Before func(ctx context.Context, commit, other string) (bool, error)
}

// Promoted is what came out.
type Promoted struct {
	Version *history.ModelVersion
	Made    bool                  // now; there was none before
	Later   *history.ModelVersion // has the alias, as it is of a later merge; nil where this one has it
}

const (
	tries = 3 // of a version that the registry does not list afterwards
	most  = 5 // looks at what others have promoted meanwhile
)

// Run makes the version, and has the alias name it.
func Run(ctx context.Context, r Registry, p Promotion) (out Promoted, err error) {
	all, err := r.ModelVersions(ctx, p.Model)
	if err != nil {
		return out, err
	}
	own := p.own(all)
	if len(own) == 0 {
		if all, err = p.add(ctx, r); err != nil {
			return out, err
		}
		own = p.own(all) // or what another run of the merge has become meanwhile
		out.Made = own[0].Tag(TagIdentity) == p.Identity
	}
	if own[0].Tag(TagIdentity) != p.Identity && own[0].Tag(history.TagSeries) != p.Series {
		return out, &OtherJobError{p.Model, own[0]}
	}
	out.Version = own[0]
	for _, other := range own[1:] { // the first is nobody's to remove
		if err := r.RemoveModelVersion(ctx, p.Model, other.Version); err != nil {
			return out, err
		}
	}
	if err := p.note(ctx, r, out.Version); err != nil || p.Alias == "" {
		return out, err
	}
	out.Later, err = p.alias(ctx, r, all, out.Version)
	return out, err
}

// OtherJobError is the error of a merge of which another job's run is a version already: of two
// jobs, chance would say which of them the alias names.
type OtherJobError struct {
	Model   string
	Version *history.ModelVersion
}

func (e *OtherJobError) Error() string {
	return fmt.Sprintf("version %s of the model %s is of this merge already, and run %s, which that is, is of another "+
		"job; have one job alone promoted to a model (promote in its step, none in the others')", e.Version.Version,
		e.Model, e.Version.Tag(TagRun))
}

// Is tells that it is a mistake in what was asked.
func (*OtherJobError) Is(target error) bool { return target == mistake.Err }

// own are the versions of the run, by number: more than one where two have promoted it at once.
// Of a merge that another run of the same files was promoted for, it is that one's.
func (p Promotion) own(all []*history.ModelVersion) (list []*history.ModelVersion) {
	for _, v := range all {
		if v.Tag(TagIdentity) == p.Identity {
			list = append(list, v)
		}
	}
	if len(list) == 0 && p.Before != nil && p.Commit != "" {
		for _, v := range all {
			if v.Tag(TagIdentity) != "" && v.Tag(TagCommit) == p.Commit {
				return []*history.ModelVersion{v}
			}
		}
	}
	return list
}

// add makes the version. Whether it was made, the list says: an answer may be lost.
func (p Promotion) add(ctx context.Context, r Registry) ([]*history.ModelVersion, error) {
	v, err := p.Version(ctx)
	if err != nil {
		return nil, err
	}
	v.Name = p.Model
	for _, t := range []history.KeyValue{{Key: TagCommit, Value: p.Commit}, {Key: TagIdentity, Value: p.Identity},
		{Key: TagRun, Value: p.Run}, {Key: history.TagSeries, Value: p.Series}} {
		if t.Value != "" {
			v.Tags = append(v.Tags, t)
		}
	}
	for range tries {
		err = r.AddModelVersion(ctx, v)
		all, unlisted := r.ModelVersions(ctx, p.Model)
		if unlisted == nil && len(p.own(all)) > 0 {
			return all, nil
		}
		if err == nil && unlisted != nil { // it is there
			return nil, unlisted
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if err == nil {
		err = fmt.Errorf("the registry does not list the version of %s that it has taken", p.Model)
	}
	return nil, err
}

// note notes the commit with the version, unless it is that of a later merge of the same.
func (p Promotion) note(ctx context.Context, r Registry, v *history.ModelVersion) error {
	has := v.Tag(TagCommit)
	if p.Commit == "" || has == p.Commit {
		return nil
	}
	if later, err := p.before(ctx, p.Commit, has); err != nil || later {
		return err
	}
	return r.TagModelVersion(ctx, p.Model, v.Version, TagCommit, p.Commit)
}

func (p Promotion) before(ctx context.Context, commit, other string) (bool, error) {
	if p.Before == nil || commit == "" || other == "" || commit == other {
		return false, nil
	}
	return p.Before(ctx, commit, other)
}

// alias has the alias name the version, unless there is one of a later merge. Each who sets an
// alias looks again then, and makes room for a later merge that has come meanwhile: so whoever
// is last, the alias names the latest.
func (p Promotion) alias(ctx context.Context, r Registry, all []*history.ModelVersion, own *history.ModelVersion,
) (later *history.ModelVersion, err error) {
	if later, err = p.later(ctx, all, own, p.Commit); err != nil || later != nil {
		return later, err
	}
	to, commit := own, p.Commit
	for range most {
		if err := p.point(ctx, r, all, to); err != nil {
			return later, err
		}
		if all, err = r.ModelVersions(ctx, p.Model); err != nil {
			return later, err
		}
		next, err := p.later(ctx, all, to, commit)
		switch {
		case err != nil:
			return later, err
		case next != nil:
			later, to, commit = next, next, next.Tag(TagCommit)
		case p.points(all, to):
			return later, nil
		} // else it went with a version that another one has removed, or was moved
	}
	return later, fmt.Errorf("the alias %s of %s is changed by others all the time", p.Alias, p.Model)
}

// point sets the alias where it does not name the version already.
func (p Promotion) point(ctx context.Context, r Registry, all []*history.ModelVersion, to *history.ModelVersion) error {
	if p.points(all, to) {
		return nil
	}
	return r.AliasModel(ctx, p.Model, p.Alias, to.Version)
}

// points tells whether the alias names a version, and no other one.
func (p Promotion) points(all []*history.ModelVersion, to *history.ModelVersion) bool {
	others := func(v *history.ModelVersion) bool { return v.Version != to.Version }
	named := slices.DeleteFunc(slices.Clone(all), func(v *history.ModelVersion) bool {
		return !slices.Contains(v.Aliases, p.Alias)
	})
	return len(named) > 0 && !slices.ContainsFunc(named, others)
}

// mostLater is how many other versions are looked at, the newest and the one with the alias.
const mostLater = 10

// later is the version of the latest merge behind a commit, nil where there is none.
func (p Promotion) later(ctx context.Context, all []*history.ModelVersion, but *history.ModelVersion, commit string,
) (latest *history.ModelVersion, err error) {
	var list []*history.ModelVersion
	for _, v := range slices.Backward(all) {
		id := v.Tag(TagIdentity)
		first := slices.IndexFunc(all, func(o *history.ModelVersion) bool { return o.Tag(TagIdentity) == id })
		if id == "" || id == but.Tag(TagIdentity) || all[first] != v { // one of those that are, or were, removed
			continue
		}
		if len(list) < mostLater || slices.Contains(v.Aliases, p.Alias) {
			list = append(list, v)
		}
	}
	for _, v := range list {
		is, err := p.before(ctx, commit, v.Tag(TagCommit))
		if err != nil {
			return nil, err
		}
		if is {
			latest, commit = v, v.Tag(TagCommit)
		}
	}
	return latest, nil
}
