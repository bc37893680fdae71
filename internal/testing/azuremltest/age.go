package azuremltest

import (
	"cmp"
	"database/sql"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
)

// fullPage is how many jobs a page of a workspace with a past has.
const fullPage = 100

// Age gives the workspace a past: the runs that statements make in its run history (the
// tables are MLflow's), of which those with no parent are jobs of the control plane, too.
func (w *Workspace) Age(statements string) error {
	db, err := sql.Open("sqlite", filepath.Join(w.work, "history", "history.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		return err
	}
	rows, err := db.Query(`SELECT r.run_uuid, e.name, r.start_time, r.status FROM runs r JOIN experiments e USING
		(experiment_id) WHERE NOT EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key = ?)`,
		history.TagParent)
	if err != nil {
		return err
	}
	defer rows.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.aged = true
	for rows.Next() {
		var id, experiment, status string
		var started int64
		if err := rows.Scan(&id, &experiment, &started, &status); err != nil {
			return err
		}
		if w.jobs[id] != nil {
			continue
		}
		s := &submitted{created: time.UnixMilli(started), status: history.Completed,
			command: &armmachinelearning.CommandJob{ExperimentName: &experiment, Command: ptr("python train.py"),
				JobType: ptr(armmachinelearning.JobTypeCommand)}}
		if status != "FINISHED" {
			s.status = history.Failed
		}
		s.job = armmachinelearning.JobBase{ID: ptr(root + "/jobs/" + id), Name: ptr(id),
			SystemData: &armmachinelearning.SystemData{CreatedAt: ptr(s.created)}}
		w.jobs[id] = s
	}
	return rows.Err()
}

// listJobs answers a page of all jobs, the newest first, of a workspace with a past: the
// generated fake remembers one list, which another command would go on with.
func (w *Workspace) listJobs(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest := slices.DeleteFunc(slices.Collect(maps.Values(w.jobs)), func(s *submitted) bool {
		kind := r.URL.Query().Get("jobType")
		return kind != "" && kind != string(armmachinelearning.JobTypeCommand)
	})
	slices.SortFunc(newest, func(a, b *submitted) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(*b.job.Name, *a.job.Name))
	})
	from, _ := strconv.Atoi(r.URL.Query().Get("$skip"))
	from = min(max(from, 0), len(newest))
	to := min(from+fullPage, len(newest))
	page := []*armmachinelearning.JobBase{}
	for _, s := range newest[from:to] {
		page = append(page, s.shown())
	}
	answer := map[string]any{"value": page}
	if to < len(newest) {
		query := url.Values{"api-version": r.URL.Query()["api-version"], "$skip": {strconv.Itoa(to)}}
		answer["nextLink"] = w.URL + r.URL.Path + "?" + query.Encode()
	}
	respond(rw, answer)
}
