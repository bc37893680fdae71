package history

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// large is a history of 10,000 runs with 100,000 runs that their scripts made, the newest
// of all among them, in 2,000 experiments.
func large(t testing.TB) *Store {
	s := open(t)
	sql, err := os.ReadFile("testdata/large.sql")
	require.NoError(t, err)
	_, err = s.db.Exec(string(sql))
	require.NoError(t, err)
	return s
}

// lookups are what the commands ask.
var lookups = map[string]Query{
	"newest":             {Submitted: true, MaxResults: 1},
	"page":               {Submitted: true, MaxResults: 30},
	"page of experiment": {Submitted: true, MaxResults: 30, ExperimentIDs: []string{"77"}},
	"base": {Submitted: true, MaxResults: 1, ExperimentIDs: []string{"77"},
		Filter: "attributes.status = 'FINISHED' AND attributes.start_time < 5000"},
	"prefix":            {Submitted: true, MaxResults: 2, View: "ALL", Prefix: "job-0777"},
	"children":          {Owner: "job-00077", MaxResults: 100},
	"all of an archive": {Submitted: true, MaxResults: 30, View: "DELETED_ONLY"},
}

// The commands' lookups find their rows by an index, in any size of history.
func TestLookupsUseIndexes(t *testing.T) {
	s := open(t)
	for name, q := range lookups {
		where, order, args, err := runQuery(q)
		require.NoError(t, err)
		plan, err := query(ctx, s.db, func(row scanner) (string, error) {
			var id, parent, unused int
			var detail string
			err := row.Scan(&id, &parent, &unused, &detail)
			return detail, err
		}, `EXPLAIN QUERY PLAN SELECT `+runColumns+` FROM runs r WHERE `+where+` ORDER BY `+order+` LIMIT 30`, args...)
		require.NoError(t, err)
		for _, step := range plan {
			require.NotContains(t, step, "SCAN r", "%s: %v", name, plan)
			if q.Prefix == "" {
				require.NotContains(t, step, "TEMP B-TREE FOR ORDER BY", "%s: %v", name, plan)
			}
		}
	}
}

func TestLookupsInALargeHistory(t *testing.T) {
	testenv.Large(t, "it makes 110,000 runs")
	s := large(t)
	for name, want := range map[string]string{"newest": "job-10000", "page": "job-10000",
		"page of experiment": "job-08076", "base": "job-04076", "children": "job-00077c000769"} {
		list, _, err := s.SearchRuns(ctx, lookups[name])
		require.NoError(t, err)
		require.Equal(t, want, list[0].Info.RunID, name)
	}
	list, _, err := s.SearchRuns(ctx, Query{Owner: "job-00077"})
	require.NoError(t, err)
	require.Len(t, list, 10)
}

func BenchmarkLookups(b *testing.B) {
	s := large(b)
	for name, q := range lookups {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				_, _, err := s.SearchRuns(ctx, q)
				require.NoError(b, err)
			}
		})
	}
	b.Run("open_and_end", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			again, err := Open(s.Home)
			require.NoError(b, err)
			id := fmt.Sprint("new-", i, "-", time.Now().UnixNano())
			newRun(b, again, id)
			require.NoError(b, again.SetStatus(ctx, id, Completed, ""))
			_, err = again.CountRuns(ctx, "new-")
			require.NoError(b, err)
			_, err = again.Unfinished(ctx, "local")
			require.NoError(b, err)
			require.NoError(b, again.Close())
		}
	})
}
