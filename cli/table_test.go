package cli

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/report"
)

func tableOf(t *testing.T, runs []listed, width int) string {
	var out bytes.Buffer
	require.NoError(t, (&app{out: &out}).table(runs, width))
	return out.String()
}

func someRun(id, experiment, name, why string, metric bool) listed {
	r := &history.Run{Info: history.RunInfo{RunID: id, RunName: id, StartTime: 1_700_000_000_000,
		EndTime: 1_700_000_041_000, Status: "FINISHED"}}
	if name != "" {
		r.Info.RunName = name
	}
	tag := func(key, value string) { r.Data.Tags = append(r.Data.Tags, history.KeyValue{Key: key, Value: value}) }
	tag(gitmeta.PropCommit, "3f2a91c0000000")
	if why != "" {
		r.Info.Status = "FAILED"
		tag(history.TagError, why)
	}
	if metric {
		r.Data.Metrics = []history.Metric{{Key: "accuracy", Value: 0.9}}
	}
	return listed{Run: r, experiment: experiment}
}

// What a list says of a run is there in 60 columns as it is in 200, and in a file.
func TestTable(t *testing.T) {
	runs := []listed{
		someRun("iris-3f2a91c-2", "iris", "deeper", "ModuleNotFoundError: No module named 'seaborn'", false),
		someRun("iris-3f2a91c-1", "iris", "", "", true),
	}
	for _, width := range []int{0, 200} {
		require.Equal(t, `RUN             STATUS     STARTED              TOOK  EXPERIMENT  NAME    RESULT                                          COMMIT
iris-3f2a91c-2  Failed     2023-11-14 22:13:20  41 s  iris        deeper  ModuleNotFoundError: No module named 'seaborn'  3f2a91c
iris-3f2a91c-1  Completed  2023-11-14 22:13:20  41 s  iris                accuracy 0.9                                    3f2a91c
`, utc(t, func() string { return tableOf(t, runs, width) }))
	}
	require.Equal(t, `iris-3f2a91c-2  Failed
  ModuleNotFoundError: No module named 'seaborn' · iris
  deeper · 2023-11-14 22:13:20 · 41 s · 3f2a91c
iris-3f2a91c-1  Completed
  accuracy 0.9 · iris · 2023-11-14 22:13:20 · 41 s · 3f2a91c
`, utc(t, func() string { return tableOf(t, runs, 60) }))
}

// TestTableFits generates runs and widths: no line is wider, ids and statuses are whole, and
// of the rest at least the beginning is there.
func TestTableFits(t *testing.T) {
	for seed := range testenv.Cases(2000) {
		random := rand.New(rand.NewPCG(uint64(seed), 12))
		text := func(most int) string {
			words := strings.Repeat("naïve wörds ", 1+random.IntN(1+most/12))
			return strings.TrimSpace(words[:strings.LastIndexByte(words[:min(len(words), 1+random.IntN(most))]+" ",
				' ')])
		}
		width := 45 + random.IntN(200)
		var runs []listed
		for range 1 + random.IntN(5) {
			l := someRun("run-"+strings.Repeat("x", random.IntN(25)), text(80), text(80), text(300),
				random.IntN(2) == 0)
			for range random.IntN(3) {
				l.children = append(l.children, someRun("abc", "", text(40), "", true).Run)
			}
			runs = append(runs, l)
		}
		got := tableOf(t, runs, width)
		for _, line := range strings.Split(got, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, " ")), width, "seed %d\n%s", seed,
				got)
		}
		for _, l := range runs {
			require.Contains(t, got, l.Info.RunID+" ", "seed %d", seed)
			for _, part := range []string{l.experiment, l.Run.DisplayName(), l.Tag(history.TagError)} {
				part = report.Line(part)
				require.Contains(t, got, part[:min(len(part), 5)], "seed %d\n%s", seed, got)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	for _, key := range []string{"", "-"} {
		_, err := readOrder(key)
		require.ErrorContains(t, err, "names nothing to order by")
	}
	with := func(id string, started, ended history.Int, params ...string) listed {
		l := someRun(id, "e-"+id, "", "", false)
		l.Info.StartTime, l.Info.EndTime = started, ended
		for _, value := range params {
			l.Data.Params = append(l.Data.Params, history.KeyValue{Key: "depth", Value: value})
		}
		return l
	}
	runs := []listed{with("a", 4, 9, "10"), with("b", 3, 5, "9"), with("c", 2, 100, "deep"), with("d", 1, 2)}
	for key, want := range map[string]string{
		"params.depth": "bacd", "-params.depth": "cabd", "took": "dbac", "-took": "cabd", "experiment": "abcd",
		"-run": "dcba", "started": "dcba", "metrics.none": "abcd", "-none": "abcd",
	} {
		o, err := readOrder(key)
		require.NoError(t, err)
		o.sort(runs)
		got := ""
		for _, r := range runs {
			got += r.Info.RunID
		}
		require.Equal(t, want, got, key)
	}
}

// utc calls f where times are shown in UTC.
func utc(t *testing.T, f func() string) string {
	t.Helper()
	old := time.Local
	defer func() { time.Local = old }()
	time.Local = time.UTC
	return f()
}
