package azuremltest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// shown is a job as it is now.
func (s *submitted) shown() *armmachinelearning.JobBase {
	j := s.job
	status := ptr(armmachinelearning.JobStatus(s.status))
	if s.sweep != nil {
		sweep := *s.sweep
		sweep.Status, sweep.IsArchived, sweep.Outputs = status, s.command.IsArchived, s.command.Outputs
		j.Properties = &sweep
		return &j
	}
	command := *s.command
	command.Status = status
	j.Properties = &command
	return &j
}

func (w *Workspace) jobFakes(f *fake.ServerFactory) {
	f.JobsServer.Get = func(_ context.Context, _, _, id string, _ *armmachinelearning.JobsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.JobsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s := w.jobs[id]
		if s == nil {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.JobsClientGetResponse{JobBase: *s.shown()}, nil)
		return
	}
	f.JobsServer.NewListPager = func(_, _ string, o *armmachinelearning.JobsClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.JobsClientListResponse]) {
		view := armmachinelearning.ListViewTypeActiveOnly
		if o != nil && o.ListViewType != nil {
			view = *o.ListViewType
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		newest := slices.SortedFunc(maps.Values(w.jobs),
			func(a, b *submitted) int { return b.created.Compare(a.created) })
		newest = slices.DeleteFunc(newest, func(s *submitted) bool {
			archived := deref(s.command.IsArchived)
			if o != nil && o.JobType != nil && *o.JobType != string(*s.job.Properties.GetJobBaseProperties().JobType) {
				return true
			}
			return archived && view == armmachinelearning.ListViewTypeActiveOnly || !archived &&
				view == armmachinelearning.ListViewTypeArchivedOnly
		})
		resp.AddPage(http.StatusOK, armmachinelearning.JobsClientListResponse{}, nil) // a page may be empty
		for part := range slices.Chunk(newest, pageSize) {
			var list []*armmachinelearning.JobBase
			for _, s := range part {
				list = append(list, s.shown())
			}
			resp.AddPage(http.StatusOK,
				armmachinelearning.JobsClientListResponse{
					JobBaseResourceArmPaginatedResult: armmachinelearning.JobBaseResourceArmPaginatedResult{
						Value: list}}, nil)
		}
		return
	}
	w.submitFakes(f)
}

// submitFakes are those that start and end jobs.
func (w *Workspace) submitFakes(f *fake.ServerFactory) {
	f.JobsServer.CreateOrUpdate = func(ctx context.Context, _, _, id string, body armmachinelearning.JobBase,
		_ *armmachinelearning.JobsClientCreateOrUpdateOptions) (
		resp azfake.Responder[armmachinelearning.JobsClientCreateOrUpdateResponse], errResp azfake.ErrorResponder) {
		text, _ := ctx.Value(bodyKey{}).([]byte)
		command, sweep := kindOf(body)
		if command == nil {
			errResp.SetResponseError(http.StatusBadRequest, "UserError")
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if old := w.jobs[id]; old != nil {
			// The same again is no change, and nothing of a job may change.
			if old.body != string(text) {
				errResp.SetResponseError(http.StatusConflict, "JobPropertyImmutable")
				return
			}
			resp.SetResponse(http.StatusOK, armmachinelearning.JobsClientCreateOrUpdateResponse{JobBase: *old.shown()},
				nil)
			return
		}
		command.Services = map[string]*armmachinelearning.JobService{
			"Studio": {Endpoint: ptr("https://ml.azure.com/runs/" + id + "?wsid=" + root),
				JobServiceType: ptr("Studio")}}
		if command.ExperimentName == nil {
			command.ExperimentName = ptr("Default")
		}
		if command.Outputs == nil {
			command.Outputs = map[string]armmachinelearning.JobOutputClassification{}
		}
		command.Outputs["default"] = &armmachinelearning.URIFolderJobOutput{
			JobOutputType: ptr(armmachinelearning.JobOutputTypeURIFolder),
			URI:           ptr("azureml://datastores/workspaceartifactstore/ExperimentRun/dcid." + id)}
		body.ID, body.Name = ptr(root+"/jobs/"+id), &id
		body.SystemData = &armmachinelearning.SystemData{CreatedAt: ptr(time.Now())}
		s := &submitted{job: body, body: string(text), command: command, sweep: sweep, status: history.Queued,
			created: time.Now()}
		if sweep != nil {
			sweep.Services, sweep.ExperimentName = command.Services, command.ExperimentName
		}
		w.jobs[id] = s
		go w.run(id, s)
		resp.SetResponse(http.StatusCreated, armmachinelearning.JobsClientCreateOrUpdateResponse{JobBase: *s.shown()},
			nil)
		return
	}
	f.JobsServer.BeginCancel = func(ctx context.Context, _, _, id string,
		_ *armmachinelearning.JobsClientBeginCancelOptions) (
		resp azfake.PollerResponder[armmachinelearning.JobsClientCancelResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		s := w.jobs[id]
		if s != nil {
			s.canceled = true
		}
		w.mu.Unlock()
		if s == nil {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		w.local.Cancel(ctx, id) // one that does not run yet is canceled when it does
		resp.SetTerminalResponse(http.StatusOK, armmachinelearning.JobsClientCancelResponse{}, nil)
		return
	}
}

// run is the cluster.
func (w *Workspace) run(id string, s *submitted) {
	ctx := context.Background()
	set := func(status history.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.status = status
	}
	end, err := w.train(ctx, id, s, set)
	if err != nil {
		end = history.Failed
	}
	set(end)
}

func (w *Workspace) train(ctx context.Context, id string, s *submitted, set func(history.Status)) (history.Status,
	error) {
	set(history.Preparing)
	dir := filepath.Join(w.work, "code", id)
	// the data lie there too
	j := &job.Job{Type: "command", Name: id, Compute: job.Local, Command: *s.command.Command,
		ExperimentName: *s.command.ExperimentName, Dir: w.work,
		Outputs: map[string]job.Output{}, EnvironmentVariables: map[string]string{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var snap *snapshot.Snapshot
	if s.command.CodeID != nil {
		w.mu.Lock()
		code := w.codes[strings.Replace(strings.TrimPrefix(*s.command.CodeID, root+"/codes/"), "/versions", "", 1)]
		w.mu.Unlock()
		if err := w.fetch(ctx, *code.Properties.CodeURI, dir); err != nil {
			return "", err
		}
		j.Code = "code/" + id
		var err error
		if snap, err = snapshot.Take(ctx, dir, snapshot.Options{MaxBytes: -1}); err != nil {
			return "", err
		}
	}
	j.Tags = map[string]string{}
	for name, value := range s.command.Tags {
		if !w.Untagged {
			j.Tags[name] = *value
		}
	}
	for name, value := range s.command.EnvironmentVariables {
		j.EnvironmentVariables[name] = *value
	}
	var err error
	if j.Inputs, err = w.inputs(ctx, id, s.command.Inputs); err != nil {
		return "", err
	}
	for name := range s.command.Outputs {
		if name == "default" {
			continue
		}
		j.Outputs[name] = job.Output{Type: job.URIFolder}
	}
	if s.command.Limits != nil && s.command.Limits.Timeout != nil {
		j.Limits = &job.Limits{Timeout: 3600}
	}
	if s.sweep != nil {
		if j.Sweep, err = sweepOf(s.sweep); err != nil {
			return "", err
		}
	}
	if _, err := w.local.Submit(ctx, submit.Submission{Job: j, Snapshot: snap, Git: gitmeta.Info{}}); err != nil {
		return "", err
	}
	w.mu.Lock()
	canceled := s.canceled
	w.mu.Unlock()
	if canceled {
		w.local.Cancel(ctx, id)
	}
	set(history.Running)
	run, err := w.local.Watch(ctx, id, nil)
	if err != nil {
		return "", err
	}
	set(history.Finalizing)
	return run.Status(), w.keepAll(ctx, id, run)
}

// inputs fetches the data of a job's inputs.
func (w *Workspace) inputs(
	ctx context.Context, id string, of map[string]armmachinelearning.JobInputClassification,
) (map[string]job.Input, error) {
	inputs := map[string]job.Input{}
	for name, in := range of {
		switch in := in.(type) {
		case *armmachinelearning.LiteralJobInput:
			inputs[name] = job.Input{Literal: true, Value: *in.Value}
		case *armmachinelearning.URIFileJobInput:
			p, err := w.Fetch(ctx, *in.URI, filepath.Join(w.work, "data", id, name))
			if err != nil {
				return nil, err
			}
			inputs[name] = job.Input{Type: job.URIFile, Path: p}
		case *armmachinelearning.URIFolderJobInput:
			p, err := w.Fetch(ctx, *in.URI, filepath.Join(w.work, "data", id, name))
			if err != nil {
				return nil, err
			}
			inputs[name] = job.Input{Type: job.URIFolder, Path: p}
		default:
			return nil, fmt.Errorf("input %s: the double knows no %T", name, in)
		}
	}
	return inputs, nil
}

// keepAll puts the files of a run where the service keeps them.
func (w *Workspace) keepAll(ctx context.Context, id string, run *history.Run) error {
	files, err := w.store.Artifacts(ctx, run)
	if err != nil {
		return err
	}
	for _, f := range files {
		r, err := w.store.OpenArtifact(ctx, run, f.Path)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		if err := w.Keep(id, f.Path, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// Keep puts a file of a run where the service keeps it: what belongs to a named output in
// the default datastore, everything else among the run's artifacts.
func (w *Workspace) Keep(id, name, text string) error {
	if rest, ok := strings.CutPrefix(name, "named_outputs/"); ok {
		return w.Put("workspaceblobstore", cmp.Or(w.Outputs, "azureml")+"/"+id+"/"+rest, text)
	}
	if err := w.Put("workspaceartifactstore", "ExperimentRun/dcid."+id+"/"+name, text); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs[id].files = append(w.jobs[id].files, name)
	return nil
}

// assetType is the type of an output's asset, as the run history names it.
func assetType(o armmachinelearning.JobOutputClassification) string {
	switch o.(type) {
	case *armmachinelearning.CustomModelJobOutput:
		return "CustomModel"
	case *armmachinelearning.MLFlowModelJobOutput:
		return "MLFlowModel"
	case *armmachinelearning.TritonModelJobOutput:
		return "TritonModel"
	case *armmachinelearning.MLTableJobOutput:
		return "mltable"
	case *armmachinelearning.URIFileJobOutput:
		return "uri_file"
	}
	return "uri_folder"
}
