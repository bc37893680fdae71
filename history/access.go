package history

import (
	"context"
	"fmt"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// reservedTags refuses names of tags that only aml-train sets: what a script did to them
// would be believed.
func (v *Server) reservedTags(tags ...KeyValue) error {
	for _, t := range tags {
		if strings.HasPrefix(t.Key, reserved) || v.access.Run != "" && strings.HasPrefix(t.Key, "azureml.git.") {
			return invalid("Invalid tag name: '%s'. It is aml-train's own and cannot be changed", clip.Bytes(t.Key,
				maxKey))
		}
	}
	return nil
}

// recorded tells a tag that aml-train records of a job and a script has no reason to
// change. The display name, the description and the job's own tags are not among them.
func recorded(key string) bool {
	return strings.HasPrefix(key, "mlflow.source.") || key == TagUser || key == TagParent
}

// mayWrite refuses a change of a run that is not the client's: neither the run whose
// token it has, nor one that this made. Of the run itself, what aml-train recorded
// stays; the same value again is no change.
func (v *Server) mayWrite(ctx context.Context, run string, tags ...KeyValue) error {
	if err := v.reservedTags(tags...); err != nil || v.access.Run == "" {
		return err
	}
	owner, err := v.store.Owner(ctx, run)
	if err != nil {
		return err
	}
	if run != v.access.Run {
		return v.mustOwn(owner, "run", run)
	}
	for _, t := range tags {
		if !recorded(t.Key) {
			continue
		}
		now, err := v.store.tag(ctx, run, t.Key)
		if err != nil {
			return err
		}
		if now != t.Value {
			return &Error{codeForbidden, fmt.Sprintf("The tag '%s' of run %s is what aml-train recorded and cannot be "+
				"changed", t.Key, run)}
		}
	}
	return nil
}

// mustOwn refuses a change of what another run made.
func (v *Server) mustOwn(owner, what, id string) error {
	if v.access.Run == "" || owner == v.access.Run {
		return nil
	}
	return &Error{codeForbidden, fmt.Sprintf("The %s %s was not made by run %s, whose token may not change it", what,
		clip.Bytes(id, maxKey), v.access.Run)}
}

// mayManage refuses what only aml-train does with the run of a job, such as archiving
// it. Runs that the client made are its own to manage.
func (v *Server) mayManage(ctx context.Context, run string) error {
	if run != "" && run == v.access.Run {
		return &Error{codeForbidden, fmt.Sprintf("The run %s is the job's own; aml-train keeps it", run)}
	}
	return v.mayWrite(ctx, run)
}

// mayWriteExperiment refuses a change of an experiment that the client did not make, or
// that has runs of others by now.
func (v *Server) mayWriteExperiment(ctx context.Context, id string) error {
	if v.access.Run == "" {
		return nil
	}
	owner, shared, err := v.store.experimentOwner(ctx, id)
	if err != nil {
		return err
	}
	if shared {
		owner = ""
	}
	return v.mustOwn(owner, "experiment", id)
}

// mayWriteModel refuses a change of a logged model that the client did not make.
func (v *Server) mayWriteModel(ctx context.Context, id string) error {
	if v.access.Run == "" {
		return nil
	}
	m, err := v.store.anyModel(ctx, id)
	if err != nil {
		return err
	}
	if v.mayWrite(ctx, m.Info.SourceRunID) != nil {
		return v.mustOwn("", "model", id)
	}
	return nil
}

// maker is the run that a model is recorded to come from: the one that the client
// names, if it is its own, else the run whose token it has.
func (v *Server) maker(ctx context.Context, named string) (string, error) {
	if named == "" {
		return v.access.Run, nil
	}
	return named, v.mayWrite(ctx, named)
}

// mayWriteArtifact refuses a change of files of others, and of the console output that
// aml-train records of a job.
func (v *Server) mayWriteArtifact(ctx context.Context, f folder, name string) error {
	if v.access.Run == "" {
		return nil
	}
	if f.model != "" {
		return v.mayWriteModel(ctx, f.model)
	}
	top, _, _ := strings.Cut(name, "/")
	if console, _, _ := strings.Cut(ConsoleLog, "/"); f.run == v.access.Run && strings.EqualFold(top, console) {
		return &Error{codeForbidden, fmt.Sprintf("%s is what aml-train recorded of run %s and cannot be changed",
			console, f.run)}
	}
	return v.mayWrite(ctx, f.run)
}
