package azureml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/history"
)

// namedDir is where the files of the job's named outputs are among those of the run, as
// they are of a run on this machine.
const namedDir = "named_outputs/"

// defaultOutput is the output that every job has: ./outputs, ./logs and what it printed.
const defaultOutput = "default"

// folder is one place where files of a run lie.
type folder struct {
	under  string // what their paths begin with: "", or named_outputs/NAME/
	store  *storage
	prefix string // of the blobs; one file has no "/" at its end
	err    error  // why it cannot be reached
}

// outputsOf writes down which outputs a job has, and where.
func outputsOf(c *armmachinelearning.CommandJob) string {
	out := map[string]string{}
	for name, o := range c.Outputs {
		switch o := o.(type) {
		case *armmachinelearning.URIFolderJobOutput:
			out[name] = deref(o.URI)
		case *armmachinelearning.URIFileJobOutput:
			out[name] = deref(o.URI)
		case *armmachinelearning.MLTableJobOutput:
			out[name] = deref(o.URI)
		case *armmachinelearning.CustomModelJobOutput:
			out[name] = deref(o.URI)
		case *armmachinelearning.MLFlowModelJobOutput:
			out[name] = deref(o.URI)
		case *armmachinelearning.TritonModelJobOutput:
			out[name] = deref(o.URI)
		}
	}
	if len(out) == 0 {
		return ""
	}
	text, _ := json.Marshal(out)
	return string(text)
}

// places finds the files of a run, once: those of its default output (azure-ai-ml,
// job_ops: where the job says, else ExperimentRun/dcid.RUN), and those of each named one.
func (r *records) places(ctx context.Context, run *history.Run) ([]folder, error) {
	found, _ := r.folders.LoadOrStore(run.Info.RunID, &once[[]folder]{})
	return found.(*once[[]folder]).get(func() ([]folder, error) { return r.findPlaces(ctx, run) })
}

func (r *records) findPlaces(ctx context.Context, run *history.Run) ([]folder, error) {
	outputs := map[string]string{}
	if text := run.Tag(tagOutputs); text != "" {
		if err := json.Unmarshal([]byte(text), &outputs); err != nil {
			return nil, err
		}
	}
	main := folder{}
	if main.store, main.prefix, main.err = r.c.locateAddress(ctx, outputs[defaultOutput]); main.store == nil &&
		!denied(main.err) {
		main.store, main.err = r.c.store(ctx, artifactDatastore)
		main.prefix = "ExperimentRun/dcid." + run.Info.RunID
	}
	main.prefix += "/"
	out := []folder{main}
	delete(outputs, defaultOutput)
	if len(outputs) == 0 {
		return out, nil
	}
	found, err := r.resolve(ctx, run.Info.RunID)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		f := r.findOutput(ctx, run.Info.RunID, name, found[name], outputs[name])
		f.under = namedDir + name
		out = append(out, f)
	}
	return out, nil
}

// findOutput looks for a named output: where the run's data say, where the job says, and
// where the service puts what has no address (azure-ai-ml, _get_named_output_uri).
func (r *records) findOutput(ctx context.Context, run, name string, addresses ...string) folder {
	last := folder{err: errors.New("it is at no address that is known")}
	for _, under := range []string{"azureml", "dataset"} {
		addresses = append(addresses, "azureml://datastores/"+defaultDatastore+"/paths/"+under+"/"+run+"/"+name)
	}
	for _, address := range addresses {
		if address == "" || strings.Contains(address, "${{") {
			continue
		}
		store, at, err := r.c.locateAddress(ctx, address)
		if err != nil {
			last = folder{err: err}
			continue
		}
		for _, prefix := range []string{at + "/", at} {
			list, err := store.list(ctx, prefix)
			if err != nil {
				last = folder{err: short(err)}
				break
			}
			if len(list) > 0 && (prefix != at || list[0].name == "") {
				return folder{store: store, prefix: prefix}
			}
		}
	}
	return last
}

// locateAddress finds the container that an address of data leads to, and where in it
// (azure-ai-ml, AzureMLDatastorePathUri). What it leads to may not be there.
func (c *connection) locateAddress(ctx context.Context, address string) (*storage, string, error) {
	rest, ok := strings.CutPrefix(address, "azureml://")
	if !ok {
		return nil, "", fmt.Errorf("%q is no address in a datastore of the workspace", address)
	}
	if before, after, long := strings.Cut(rest, "/datastores/"); long {
		if _, name, _ := strings.Cut(before, "/workspaces/"); !strings.EqualFold(name, c.name) {
			return nil, "", fmt.Errorf("%q lies in a datastore of another workspace", address)
		}
		rest = "datastores/" + after
	}
	rest, ok = strings.CutPrefix(rest, "datastores/")
	name, at, there := strings.Cut(rest, "/")
	if !ok || !there {
		return nil, "", fmt.Errorf("%q is no address in a datastore of the workspace", address)
	}
	store, err := c.store(ctx, name)
	return store, strings.Trim(strings.TrimPrefix(at, "paths/"), "/"), err
}

// resolve asks where the named outputs of a run are: the run's data know them as assets,
// whose services know their addresses (azure-ai-ml, get_job_output_uris_from_dataplane).
func (r *records) resolve(ctx context.Context, run string) (map[string]string, error) {
	var data struct {
		RunMetadata struct {
			Outputs map[string]struct{ AssetID, Type string }
		}
	}
	err := r.c.ask(ctx, http.MethodPost, "/history/v1.0"+r.c.path+"/rundata",
		object{"runId": run, "selectRunMetadata": true}, &data)
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the outputs of run %s: %w", run, short(err))
	}
	names, ids := map[string]string{}, map[string][]string{}
	for name, o := range data.RunMetadata.Outputs {
		plane := "/data/v1.0" + r.c.path + "/dataversion"
		if strings.HasSuffix(strings.ToLower(o.Type), "model") {
			plane = "/modelregistry/v1.0" + r.c.path + "/models"
		}
		names[o.AssetID] = name
		ids[plane] = append(ids[plane], o.AssetID)
	}
	out := map[string]string{}
	for plane, list := range ids {
		var answer struct {
			Values map[string]struct{ URI, Path string }
		}
		if err := r.c.ask(ctx, http.MethodPost, plane+"/batchGetResolvedUris", object{"values": list},
			&answer); err != nil {
			return nil, fmt.Errorf("the outputs of run %s: %w", run, short(err))
		}
		for id, v := range answer.Values {
			if out[names[id]] = v.URI; v.URI == "" {
				out[names[id]] = v.Path
			}
		}
	}
	return out, nil
}

// Artifacts implements submit.History. Where the storage account lets nobody in, the run
// history knows the files as well.
func (r *records) Artifacts(ctx context.Context, run *history.Run) ([]history.File, error) {
	places, err := r.places(ctx, run)
	if err != nil {
		return nil, err
	}
	var out []history.File
	for _, f := range places {
		list, err := f.list(ctx)
		if denied(err) && f.under == "" {
			list, err = r.listed(ctx, run, err)
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && f.under == "":
			return nil, fmt.Errorf("the files of run %s: %w", run.Info.RunID, err)
		case err != nil:
			r.t.say("The output %s of run %s cannot be listed: %v", strings.TrimPrefix(f.under, namedDir),
				run.Info.RunID, err)
		}
		for _, i := range list {
			out = append(out, history.File{Path: strings.Trim(f.under+"/"+i.name, "/"), Size: history.Int(i.size)})
		}
	}
	return out, nil
}

// list lists the files of a folder, without the service's own.
func (f folder) list(ctx context.Context) ([]item, error) {
	if f.err != nil {
		return nil, f.err
	}
	list, err := f.store.list(ctx, f.prefix)
	if err != nil {
		return nil, short(err)
	}
	return slices.DeleteFunc(list, func(i item) bool {
		return f.under == "" && systemFile(i.name) || !strings.HasSuffix(f.prefix, "/") && i.name != ""
	}), nil
}

func systemFile(name string) bool { return strings.HasPrefix(name, "system_logs/") }

// runPath is a run's address in the run history, which wants its experiment.
func (r *records) runPath(run *history.Run) string {
	experiment := "/experiments/" + url.PathEscape(run.Tag(tagExperiment))
	if run.Tag(tagExperiment) == "" {
		experiment = "/experimentids/" + url.PathEscape(run.Info.ExperimentID)
	}
	return "/history/v1.0" + r.c.path + experiment + "/runs/" + url.PathEscape(run.Info.RunID)
}

// artifactPage is a page of the run history's files (azure-ai-ml,
// _run_artifacts_operations.py).
type artifactPage struct {
	Value []struct {
		Path       string
		ContentURI string
	}
	ContinuationToken string
}

// pages calls each for every page of an address of the run history.
func (r *records) pages(ctx context.Context, address string, query url.Values, each func(artifactPage)) error {
	for {
		var page artifactPage
		if err := r.c.get(ctx, address+"?"+query.Encode(), &page); err != nil {
			return short(err)
		}
		each(page)
		if page.ContinuationToken == "" || page.ContinuationToken == query.Get("continuationToken") {
			return nil
		}
		query.Set("continuationToken", page.ContinuationToken)
	}
}

// listed lists a run's files through the run history, as azureml-mlflow does. It knows
// their names; how large each is, its storage says under the signed address that the run
// history gives out for it.
func (r *records) listed(ctx context.Context, run *history.Run, why error) ([]item, error) {
	files := map[string]string{} // by path, the signed address
	folders := map[string]bool{}
	err := r.pages(ctx, r.runPath(run)+"/artifacts", url.Values{}, func(p artifactPage) {
		for _, v := range p.Value {
			if !systemFile(v.Path) {
				files[v.Path] = ""
				top, _, _ := strings.Cut(v.Path, "/")
				folders[top] = true
			}
		}
	})
	for top := range folders {
		if err == nil {
			err = r.pages(ctx, r.runPath(run)+"/artifacts/prefix/contentinfo", url.Values{"path": {top}},
				func(p artifactPage) {
					for _, v := range p.Value {
						if _, ok := files[v.Path]; ok {
							files[v.Path] = v.ContentURI
						}
					}
				})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w; nor does the run history tell: %w", why, err)
	}
	out := make([]item, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, item{name: name})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range out {
		if address := files[out[i].name]; address != "" {
			g.Go(func() (err error) {
				out[i].size, err = r.c.logSize(ctx, address)
				return err
			})
		}
	}
	return out, g.Wait()
}

// OpenArtifact implements submit.History. The console output has several names: of
// more than one process, the first one's is meant.
func (r *records) OpenArtifact(ctx context.Context, run *history.Run, name string) (io.ReadCloser, error) {
	if name == history.ConsoleLog {
		d, err := r.state(ctx, run.Info.RunID)
		if err != nil {
			return nil, err
		}
		names := streamable(d.LogFiles)
		if len(names) == 0 {
			return nil, fmt.Errorf("run %s has printed nothing yet", run.Info.RunID)
		}
		return &remoteLog{ctx: ctx, c: r.c, address: d.LogFiles[names[0]]}, nil
	}
	places, err := r.places(ctx, run)
	if err != nil {
		return nil, err
	}
	name = path.Clean(name)
	for _, f := range slices.Backward(places) { // the named ones first
		rest, ok := strings.CutPrefix(name, f.under)
		if !ok || f.under != "" && rest != "" && rest[0] != '/' {
			continue
		}
		file, err := f.open(ctx, strings.TrimPrefix(rest, "/"))
		if denied(err) && f.under == "" {
			file, err = r.opened(ctx, run, name, err)
		}
		return file, err
	}
	return nil, fmt.Errorf("run %s has no file %s", run.Info.RunID, name)
}

func (f folder) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if f.err != nil {
		return nil, f.err
	}
	file, err := f.store.read(ctx, f.prefix+name)
	return file, short(err)
}

// opened opens a file at the signed address that the run history gives out for it.
func (r *records) opened(ctx context.Context, run *history.Run, name string, why error) (io.ReadCloser, error) {
	var info struct{ ContentURI string }
	if err := r.c.get(ctx, r.runPath(run)+"/artifacts/contentinfo?"+url.Values{"path": {name}}.Encode(),
		&info); err != nil {
		return nil, fmt.Errorf("%w; nor does the run history tell: %w", why, short(err))
	}
	res, err := r.c.fetch(ctx, info.ContentURI, 0)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}
