package cli

import (
	"context"
	"io"
	"path/filepath"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/records"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit/azureml"
)

// registry is where a run becomes a version, and how.
type registry struct {
	promote.Registry
	shown   string // for people
	uri     func(*history.ModelVersion) string
	version func(context.Context) (history.ModelVersion, error) // see promote.Promotion
	told    func(error) error                                   // an error as it is told
	close   func()
}

// registry finds the registry of a run: the workspace that it ran in; of a run on this machine,
// the MLflow server that runs are kept on, else the workspace that is known, else this machine's.
func (s session) registry(ctx context.Context, flow *workflow, run *history.Run, path string) (*registry, error) {
	m := &model{session: s, run: run, path: path}
	r := &registry{told: func(err error) error { return err }, close: m.close,
		uri: func(v *history.ModelVersion) string { return "models:/" + v.Name + "/" + v.Version }}
	if t, ok := s.Target.(*azureml.Target); ok {
		return r, r.inWorkspace(ctx, t, m)
	}
	if models := s.assess.Records.Models(); models != nil {
		r.Registry, r.shown, r.told = models, models.Shown, models.Told
		r.version = func(ctx context.Context) (history.ModelVersion, error) {
			chosen, err := m.choose(ctx)
			if err != nil {
				return history.ModelVersion{}, err
			}
			return models.Put(ctx, s.ended(run), m.files(chosen), chosen.Path)
		}
		return r, nil
	}
	t, err := s.workspace()
	if err != nil {
		return nil, err
	}
	if len(t.Missing()) == 0 {
		return r, r.inWorkspace(ctx, t, m)
	}
	if flow != nil && s.getenv("RUNNER_ENVIRONMENT") != "self-hosted" {
		return nil, usage("the model registry of this runner ends with it; name one that stays: history: with the "+
			"address of an MLflow server in %s (or MLFLOW_TRACKING_URI), or a workspace of Azure Machine Learning",
			settings.File)
	}
	r.Registry, r.shown = s.store, "the registry of this machine"
	r.version = func(ctx context.Context) (history.ModelVersion, error) {
		chosen, err := m.choose(ctx)
		if err == nil && m.elsewhere != nil {
			err = usage("not all files of run %s are on this machine, whose registry points to what is here; name an "+
				"MLflow server or a workspace, to which they can be sent", run.Info.RunID)
		}
		if err != nil {
			return history.ModelVersion{}, err
		}
		source, err := s.store.ModelSource(run, chosen.Path)
		return history.ModelVersion{Source: source, RunID: run.Info.RunID}, err
	}
	return r, nil
}

// ended is a run as the server is told of it.
func (s session) ended(run *history.Run) records.Ended {
	return records.Ended{Run: run, For: s.assess.For(run), Repeat: 1, Store: s.store, History: s.History}
}

// inWorkspace makes it the registry of a workspace, to which the files of a run on this machine
// are sent.
func (r *registry) inWorkspace(ctx context.Context, t *azureml.Target, m *model) error {
	models, err := t.Models(ctx)
	if err != nil {
		return err
	}
	r.Registry, r.shown = models, "the workspace "+t.Workspace.Name
	r.uri = func(v *history.ModelVersion) string { return "azureml:" + v.Name + ":" + v.Version }
	r.version = func(ctx context.Context) (v history.ModelVersion, err error) {
		chosen, err := m.choose(ctx)
		if err != nil {
			return v, err
		}
		models.MLflow = chosen.MLflow
		if m.run.Tag(history.TagTarget) != job.Local {
			return history.ModelVersion{Source: azureml.SourceOf(m.run.Info.RunID, chosen.Path),
				RunID: m.run.Info.RunID}, nil
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
	session
	run  *history.Run
	path string // in the settings

	elsewhere *records.Outputs // nil where all is here
	sizes     map[string]int64
}

// choose finds the model among the files of the run.
func (m *model) choose(ctx context.Context) (chosen promote.Chosen, err error) {
	m.sizes = map[string]int64{}
	var names []string
	if records.Elsewhere(m.run) {
		if m.elsewhere == nil {
			if m.elsewhere, err = m.assess.Records.Outputs(ctx, m.run, m.store); err != nil {
				return chosen, err
			}
		}
		m.sizes = m.elsewhere.Sizes()
	} else {
		files, err := m.History.Artifacts(ctx, m.run)
		if err != nil {
			return chosen, err
		}
		for _, f := range files {
			m.sizes[f.Path] = int64(f.Size)
		}
	}
	for name := range m.sizes {
		names = append(names, name)
	}
	if chosen, err = promote.Choose(names, filepath.ToSlash(m.path)); err != nil {
		return chosen, usage("the model of run %s: %w", m.run.Info.RunID, err)
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
			return m.History.OpenArtifact(ctx, m.run, name)
		}})
	}
	return list
}

func (m *model) close() {
	if m.elsewhere != nil {
		if err := m.elsewhere.Close(); err != nil {
			m.say("aml-train: %v", err)
		}
	}
}
