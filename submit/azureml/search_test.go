package azureml

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
)

// everybody is a workspace with 300 experiments and 1,000 runs in each page by page; run
// N started N seconds ago. Tags are shown by MLflow, or by the control plane alone.
func everybody(t *testing.T, tags bool) (*records, *[]string) {
	var filters []string
	tagsOf := func(n int) map[string]string {
		out := map[string]string{"mlflow.source.git.commit": fmt.Sprintf("%040x", n),
			"aml-train.pull_request": strconv.Itoa(n % 500)}
		if n%2 == 1 {
			out[history.TagParent] = "somebody"
		}
		return out
	}
	const now = 2_000_000_000_000
	c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Filter      string
			PageToken   string   `json:"page_token"`
			Experiments []string `json:"experiment_ids"`
		}
		json.NewDecoder(r.Body).Decode(&q)
		from, _ := strconv.Atoi(q.PageToken)
		answer := map[string]any{}
		switch {
		case strings.HasSuffix(r.URL.Path, "/experiments/search"):
			var list []map[string]any
			for n := from; n < min(from+100, 300); n++ {
				list = append(list, map[string]any{"experiment_id": fmt.Sprint("e", n),
					"name": fmt.Sprint("experiment ", n)})
			}
			if answer["experiments"] = list; from < 200 {
				answer["next_page_token"] = strconv.Itoa(from + 100)
			}
		case strings.HasSuffix(r.URL.Path, "/runs/search"):
			filters = append(filters, q.Filter)
			if !slices.Contains(q.Experiments, "e299") {
				t.Errorf("the last experiment is not among %v", q.Experiments)
			}
			list := []any{}
			for n := from; n < from+50; n++ {
				shown := []map[string]string{}
				for key, value := range tagsOf(n) {
					if tags || key == history.TagParent {
						shown = append(shown, map[string]string{"key": key, "value": value})
					}
				}
				fits := true
				for part := range strings.SplitSeq(q.Filter, " AND ") {
					key, value, found := strings.Cut(part, "` = '")
					fits = fits &&
						(!found || tags && tagsOf(n)[strings.TrimPrefix(key, "tags.`")] == strings.TrimSuffix(value,
							"'"))
				}
				if fits {
					list = append(list,
						map[string]any{"info": map[string]any{"run_id": fmt.Sprint("r", n), "start_time": now - 1000*n,
							"status": []string{"FINISHED", "FAILED"}[n%4/2]}, "data": map[string]any{"tags": shown}})
				}
			}
			if answer["runs"] = list; from < 950 {
				answer["next_page_token"] = strconv.Itoa(from + 50)
			}
		case strings.HasSuffix(r.URL.Path, "/jobs") && r.URL.Query().Get("jobType") == "Sweep": // there are none
		case strings.HasSuffix(r.URL.Path, "/jobs"):
			from, _ := strconv.Atoi(r.URL.Query().Get("skip"))
			var list []map[string]any
			for n := from; n < from+100; n++ {
				list = append(list,
					map[string]any{"name": fmt.Sprint("r", n),
						"systemData": map[string]any{"createdAt": fmt.Sprintf("2033-05-18T%02d:%02d:%02dZ", 3-n/3600,
							59-n/60%60, 59-n%60)},
						"properties": map[string]any{"jobType": "Command", "status": "Completed",
							"experimentName": "experiment 299", "tags": tagsOf(n)}})
			}
			answer["value"] = list
			if from < 900 {
				answer["nextLink"] = "https://management.azure.com" + r.URL.Path + "?skip=" + strconv.Itoa(from+100)
			}
		default:
			t.Error(r.URL)
		}
		text, _ := json.Marshal(answer)
		w.Write(text)
	})
	return &records{t: &Target{}, c: c}, &filters
}

// What is looked for is found on whichever page it is, with filters that are promised, and
// by way of the jobs where MLflow does not show their tags.
func TestSearchRuns(t *testing.T) {
	for _, tags := range []bool{true, false} {
		r, filters := everybody(t, tags)
		find := func(q history.Query) []string {
			q.Submitted = true
			runs, _, err := r.SearchRuns(t.Context(), q)
			require.NoError(t, err)
			var out []string
			for _, run := range runs {
				out = append(out, run.Info.RunID)
			}
			return out
		}
		require.Equal(t, []string{"r0", "r2", "r4"}, find(history.Query{MaxResults: 3})[:3], "no child of another run")
		require.Equal(t, "r780",
			find(history.Query{MaxResults: 1, Completed: true, Before: 2_000_000_000_000 - 1000*777})[0],
			"on a page far behind")
		require.Equal(t, []string{"r500"}, find(history.Query{MaxResults: 1, Commit: fmt.Sprintf("%040x", 500)}))
		require.Equal(t, []string{"r42", "r542"},
			slices.Sorted(
				slices.Values(
					find(history.Query{MaxResults: 100, Tags: map[string]string{"aml-train.pull_request": "42"}}))))
		require.Empty(t, find(history.Query{MaxResults: 1, Commit: "none"}))
		for _, f := range *filters {
			require.Contains(t, []string{"", "tags.`aml-train.pull_request` = '42'"}, f)
		}
	}
}
