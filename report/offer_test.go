package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOffer: what is told of a commit before it trains, whatever its names hold.
func TestOffer(t *testing.T) {
	o := Offer{Name: "iris @team", Line: "/train " + strings.Repeat("1a", 20) + " rate=0.1",
		Commit: strings.Repeat("1a", 20), Whose: "eve/x, branch #1", Snapshot: strings.Repeat("2b", 20), Files: 212,
		Bytes: 1_200_000, Source: "src", Command: "python train.py | tee\nlog `x`", Environment: "docker:python:3.12",
		Inputs: []string{"rate=0.1", "data=azureml:iris:1"}, Where: "on gpu in the workspace garden",
		Variables: []string{"HF_TOKEN"},
		Cost:      "2.00 USD for an hour of one node of gpu; 1 node, without a limit of time",
		Base:      "main 9d0c1e2", Changes: []FileChange{{Status: "M", Path: "src/train.py", Travels: true},
			{Status: "A", Path: "src/a`b\n.py", Travels: true}, {Status: "M", Path: "job.yml", Note: "the job file"}}}
	require.Equal(t, `### iris @<!-- -->team · nothing trains yet

**Asked for** · commit 1a1a1a1 of eve/x, branch #<!-- -->1

It trains when somebody who may push here has read that commit and writes this line into a comment:

`+"```text"+`
/train 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a rate=0.1
`+"```"+`

A push voids it: the line is for this commit alone.

| | |
|---|---|
| commit | `+"`1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a`"+` |
| snapshot | `+"`2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b`: 212 files, 1.20 MB, of `src/`"+` |
| command | `+"`` python train.py \\| tee log `x` ``"+` |
| environment | `+"`docker:python:3.12`"+` |
| inputs | `+"`rate=0.1`, `data=azureml:iris:1`"+` |
| runs | on gpu in the workspace garden |
| variables | `+"`HF_TOKEN`"+` |
| costs | 2.00 USD for an hour of one node of gpu; 1 node, without a limit of time |

Of what travels, 2 files changed since main 9d0c1e2:

- M `+"`src/train.py`"+`
- A `+"``src/a`b .py``"+`

Besides, 1 file changed:

- M `+"`job.yml`"+`, the job file
`, o.Markdown(65536))

	o.Changes, o.Inputs = nil, nil
	require.Contains(t, o.Markdown(65536), "Of what travels, nothing changed since main 9d0c1e2.\n")
	o.Base, o.Snapshot = "", ""
	require.Contains(t, o.Markdown(65536), "What it changes is not known here")
	require.Contains(t, o.Markdown(65536), "| snapshot | none: no file travels |")
	for i := range 3000 {
		o.Base, o.Changes = "main 9d0c1e2", append(o.Changes, FileChange{Status: "M", Travels: i%2 == 0,
			Path: fmt.Sprint(i, strings.Repeat("x", 1000))})
		o.Inputs = append(o.Inputs, fmt.Sprint("a", i, "=1"))
	}
	o.Changes[2999].Note = "the job file" // so many others do not hide it
	text := o.Markdown(65536)
	require.Less(t, len(text), 30_000)
	require.Regexp(t, `Besides, 1500 files changed:\n\n- M .*, the job file\n`, text)
	require.Equal(t, 2, strings.Count(text, "- and 1480 more\n"))
	require.Contains(t, text, "and 2980 more |")
	for limit := 0; limit < 2000; limit += 17 {
		require.LessOrEqual(t, len(o.Markdown(limit)), limit)
	}
	require.Contains(t, o.Markdown(600), "\n"+o.Line+"\n")
}
