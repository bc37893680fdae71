// Package registry answers: in which model registry does a run become a version, and with which
// files?
//
// That is the workspace that the run trained in; of a run on this machine the MLflow server that
// runs are kept on, else the workspace that is known, else the history of this machine. promote
// makes the version, the same way in each.
package registry

import (
	"context"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/records"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/train"
)

// Options are a run, and what may be its registry.
type Options struct {
	train.Session               // of the run
	Run           records.Ended // which may be on this machine, or have left its files where it trained
	Path          string        // where among its files the model is; "" finds it
	Records       *records.Records

	// Workspace is the one that is known; it misses something where none is.
	Workspace func() (*azureml.Target, error)

	Passing bool // this machine ends with the workflow's job
	Say     func(format string, args ...any)
}

// Registry is where a run becomes a version, and how. It is to be closed.
type Registry struct {
	promote.Registry
	Shown   string // for people
	URI     func(*history.ModelVersion) string
	Version func(context.Context) (history.ModelVersion, error) // see promote.Promotion
	Told    func(error) error                                   // an error as it is told
	Close   func()
}

// Of finds the registry of a run. That there is none which outlives this machine, where it ends
// with the job, is a mistake.
func Of(ctx context.Context, o Options) (*Registry, error) {
	m := &model{Options: o}
	r := &Registry{Told: func(err error) error { return err }, Close: m.close,
		URI: func(v *history.ModelVersion) string { return "models:/" + v.Name + "/" + v.Version }}
	if t, ok := o.Target.(*azureml.Target); ok {
		return r, r.inWorkspace(ctx, t, m)
	}
	if models := o.Records.Models(); models != nil {
		r.Registry, r.Shown, r.Told = models, models.Shown, models.Told
		r.Version = func(ctx context.Context) (history.ModelVersion, error) {
			chosen, err := m.choose(ctx)
			if err != nil {
				return history.ModelVersion{}, err
			}
			return models.Put(ctx, o.Run, m.files(chosen), chosen.Path)
		}
		return r, nil
	}
	t, err := o.Workspace()
	if err != nil {
		return nil, err
	}
	if len(t.Missing()) == 0 {
		return r, r.inWorkspace(ctx, t, m)
	}
	if o.Passing {
		return nil, mistake.Errorf("the model registry of this runner ends with it; name one that stays: history: "+
			"with the address of an MLflow server in %s (or MLFLOW_TRACKING_URI), or a workspace of Azure Machine "+
			"Learning", settings.File)
	}
	r.Registry, r.Shown = o.Run.Store, "the registry of this machine"
	r.Version = func(ctx context.Context) (history.ModelVersion, error) {
		chosen, err := m.choose(ctx)
		if err == nil && m.elsewhere != nil {
			err = mistake.Errorf("not all files of run %s are on this machine, whose registry points to what is here; "+
				"name an MLflow server or a workspace, to which they can be sent", m.Run.Run.Info.RunID)
		}
		if err != nil {
			return history.ModelVersion{}, err
		}
		source, err := o.Run.Store.ModelSource(ctx, o.Run.Run, chosen.Path)
		return history.ModelVersion{Source: source, RunID: o.Run.Run.Info.RunID}, err
	}
	return r, nil
}

// inWorkspace makes it the registry of a workspace, to which the files of a run on this machine
// are sent.
func (r *Registry) inWorkspace(ctx context.Context, t *azureml.Target, m *model) error {
	models, err := t.Models(ctx)
	if err != nil {
		return err
	}
	r.Registry, r.Shown = models, "the workspace "+t.Workspace.Name
	r.URI = func(v *history.ModelVersion) string { return "azureml:" + v.Name + ":" + v.Version }
	r.Version = func(ctx context.Context) (v history.ModelVersion, err error) {
		chosen, err := m.choose(ctx)
		if err != nil {
			return v, err
		}
		models.MLflow = chosen.MLflow
		if m.Run.Run.Tag(history.TagTarget) != job.Local {
			return history.ModelVersion{Source: azureml.SourceOf(m.Run.Run.Info.RunID, chosen.Path),
				RunID: m.Run.Run.Info.RunID}, nil
		}
		var files []azureml.ModelFile
		for _, f := range m.files(chosen) {
			files = append(files, azureml.ModelFile{Path: f.Path, Size: m.sizes[f.Path],
				Open: func() (io.ReadCloser, error) { return f.Open(ctx) }})
		}
		v.Source, err = models.Upload(ctx, files, chosen.Path)
		return v, err
	}
	return nil
}

// model is what a run has trained, here or where its runner has kept it.
type model struct {
	Options

	elsewhere *records.Outputs // nil where all is here
	sizes     map[string]int64
}

// choose finds the model among the files of the run.
func (m *model) choose(ctx context.Context) (chosen promote.Chosen, err error) {
	if records.Elsewhere(m.Run.Run) {
		if m.elsewhere, err = m.Records.Outputs(ctx, m.Run.Run, m.Run.Store); err != nil {
			return chosen, err
		}
		m.sizes = m.elsewhere.Sizes()
	} else {
		files, err := m.History.Artifacts(ctx, m.Run.Run)
		if err != nil {
			return chosen, err
		}
		m.sizes = map[string]int64{}
		for _, f := range files {
			m.sizes[f.Path] = int64(f.Size)
		}
	}
	if chosen, err = promote.Choose(slices.Collect(maps.Keys(m.sizes)), filepath.ToSlash(m.Path)); err != nil {
		return chosen, mistake.Errorf("the model of run %s: %w", m.Run.Run.Info.RunID, err)
	}
	return chosen, nil
}

// files are those of the model.
func (m *model) files(chosen promote.Chosen) (list []records.File) {
	for _, name := range chosen.Files {
		list = append(list, records.File{Path: name, Open: func(ctx context.Context) (io.ReadCloser, error) {
			if m.elsewhere != nil {
				return m.elsewhere.Open(name)
			}
			return m.History.OpenArtifact(ctx, m.Run.Run, name)
		}})
	}
	return list
}

func (m *model) close() {
	if m.elsewhere != nil {
		if err := m.elsewhere.Close(); err != nil {
			m.Say("aml-train: %v", err)
		}
	}
}
