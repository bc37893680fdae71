package history

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Query is a search of MLflow's API (mlflow.org/docs, "Search Runs").
type Query struct {
	ExperimentIDs []string
	Filter        string // such as: metrics.loss < 0.1 AND params.model = 'tree'
	OrderBy       []string
	View          string // ACTIVE_ONLY (default), DELETED_ONLY or ALL
	MaxResults    int    // 0 is the default of the search
	PageToken     string

	// What aml-train itself asks for, without a word of a filter language: servers of
	// MLflow's API know different ones.
	Name      string            // of an experiment
	Tags      map[string]string // that a run has with these values
	Commit    string            // the beginning of the id of a run's commit
	Completed bool              // only runs that completed
	Before    Int               // only runs that started earlier, in milliseconds; 0 is any

	// What MLflow's API does not have. A workspace takes the tag of a nested run's parent
	// for its owner.
	Prefix    string // of the run's id
	Submitted bool   // leave out the runs that a script made
	Owner     string // only the runs that this run's script made
}

func (q Query) page(usual, most int) (offset, limit int, err error) {
	if q.PageToken != "" {
		if offset, err = strconv.Atoi(q.PageToken); err != nil || offset < 0 {
			return 0, 0, invalid("Invalid page token %q", q.PageToken)
		}
	}
	limit = q.MaxResults
	if limit == 0 {
		limit = usual
	}
	if limit < 0 || limit > most {
		return 0, 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be at most %d",
			limit, most)
	}
	return offset, limit, nil
}

// conditions are those of the filter, and of the fields that stand for one.
func (q Query) conditions() ([]condition, error) {
	out, err := parseFilter(q.Filter)
	for _, key := range slices.Sorted(maps.Keys(q.Tags)) {
		out = append(out, condition{entity: "tag", key: key, op: "=", value: q.Tags[key]})
	}
	if q.Commit != "" {
		out = append(out, condition{entity: "tag", key: TagCommit, op: "LIKE", value: q.Commit + "%"})
	}
	if q.Completed {
		out = append(out, condition{entity: "attribute", key: "status", op: "=", value: mlflowFinished})
	}
	if q.Before != 0 {
		out = append(out, condition{entity: "attribute", key: "start_time", op: "<",
			value: fmt.Sprint(int64(q.Before)), number: true})
	}
	return out, err
}

// TagFilter writes in MLflow's language of filters that a tag has a value; ok is false
// where it cannot say that: it knows no escapes within quotes (mlflow.org, "Search Runs",
// Syntax).
func TagFilter(key, value string) (filter string, ok bool) {
	quote := "'"
	if strings.Contains(value, quote) {
		quote = `"`
	}
	if strings.Contains(key, "`") || strings.Contains(value, quote) || strings.HasSuffix(value, `\`) {
		return "", false
	}
	return "tags.`" + key + "` = " + quote + value + quote, true
}
