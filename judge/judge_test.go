package judge_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/judge"
)

// draws are n values around a mean.
func draws(r *rand.Rand, n int, mean float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = mean + r.NormFloat64()
	}
	return values
}

// TestFalseAlarms simulates changes that change nothing: in at most five of a hundred is
// any of their metrics called better or worse.
func TestFalseAlarms(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	cases := testenv.Cases(20000)
	sizes := [][3]int{{1, 3, 1}, {1, 5, 1}, {1, 5, 8}, {3, 5, 1}, {3, 5, 8}, {2, 3, 3}, {3, 10, 65}, {1, 30, 20}}
	for _, size := range sizes {
		alarms := 0
		for range cases {
			metrics := make([]judge.Metric, size[2])
			for i := range metrics {
				metrics[i] = judge.Metric{Direction: judge.HigherIsBetter, This: draws(r, size[0], 7),
					Base: draws(r, size[1], 7)}
			}
			for _, f := range judge.Compare(metrics, true) {
				if f.Verdict != judge.Same {
					alarms++
					break
				}
			}
		}
		rate := float64(alarms) / float64(cases)
		t.Logf("%d against %d runs, %d metrics: %.3f false alarms", size[0], size[1], size[2], rate)
		require.LessOrEqual(t, rate, judge.Alpha+4*math.Sqrt(judge.Alpha*(1-judge.Alpha)/float64(cases)))
	}
}

// TestPower compares the power that is told with that of simulated changes, and prints both.
func TestPower(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 2))
	cases := testenv.Cases(20000)
	sizes := [][3]int{{1, 5, 1}, {3, 5, 1}, {3, 10, 1}, {1, 3, 1}, {2, 3, 1}, {5, 5, 1}, {1, 20, 1}, {3, 5, 10},
		{5, 6, 1}}
	for _, size := range sizes {
		found := 0
		for range cases {
			metrics := make([]judge.Metric, size[2])
			for i := range metrics {
				metrics[i] = judge.Metric{Direction: judge.LowerIsBetter, This: draws(r, size[0], 0),
					Base: draws(r, size[1], 0)}
			}
			metrics[0].This = draws(r, size[0], 2)
			if judge.Compare(metrics, true)[0].Verdict == judge.Worse {
				found++
			}
		}
		rate, told := float64(found)/float64(cases), judge.Power(size[0], size[1], size[2], 2)
		t.Logf("%d against %d runs, one of %d metrics: a difference of two deviations is seen in %.3f, told %.3f",
			size[0], size[1], size[2], rate, told)
		require.InDelta(t, rate, told, 0.015+2/math.Sqrt(float64(cases)))
	}
	require.Zero(t, judge.Power(1, 2, 1, 2))
}

// TestChanceAgainstSciPy compares p values with those of SciPy, corrected by Holm's
// definition in NumPy.
func TestChanceAgainstSciPy(t *testing.T) {
	python := testenv.Python(t)
	t.Parallel()
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 3))
	type sample struct {
		This, Base []float64
	}
	var families [][]sample
	var findings [][]judge.Finding
	for range 200 {
		var family []sample
		var metrics []judge.Metric
		for range 1 + r.IntN(6) {
			s := sample{draws(r, 1+r.IntN(4), 5*r.Float64()), draws(r, 3+r.IntN(8), 0)}
			family = append(family, s)
			metrics = append(metrics, judge.Metric{Direction: judge.HigherIsBetter, This: s.This, Base: s.Base})
		}
		families, findings = append(families, family), append(findings, judge.Compare(metrics, true))
	}
	input, err := json.Marshal(families)
	require.NoError(t, err)
	cmd := exec.Command(python, "-c", `
import json, math, sys
import numpy as np
from scipy import stats
out = []
for family in json.load(sys.stdin):
    ps = []
    for s in family:
        this, base = s["This"], s["Base"]
        if len(this) > 1:
            ps.append(float(stats.ttest_ind(this, base, equal_var=True).pvalue))
        else:
            n = len(base)
            t = (this[0] - np.mean(base)) / (np.std(base, ddof=1) * math.sqrt(1 + 1 / n))
            ps.append(float(2 * stats.t.sf(abs(t), n - 1)))
    order = np.argsort(ps)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.array(ps)[order] * (len(ps) - np.arange(len(ps)))))
    out.append(adjusted.tolist())
json.dump(out, sys.stdout)`)
	cmd.Stdin = strings.NewReader(string(input))
	output, err := cmd.Output()
	require.NoError(t, err)
	var want [][]float64
	require.NoError(t, json.Unmarshal(output, &want))
	require.Len(t, want, len(findings))
	for i, family := range findings {
		for j, f := range family {
			require.InDelta(t, want[i][j], f.P, 1e-9)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	nan, inf := math.NaN(), math.Inf(1)
	up, down, no := judge.HigherIsBetter, judge.LowerIsBetter, judge.NoDirection
	for _, c := range []struct {
		name       string
		seeded     bool
		direction  judge.Direction
		this, base []float64
		want       judge.Verdict
		missing    int
	}{
		{"far above", true, up, []float64{0.9}, []float64{0.50, 0.51, 0.49}, judge.Better, 0},
		{"far above, and lower is better", true, down, []float64{0.9}, []float64{0.50, 0.51, 0.49}, judge.Worse, 0},
		{"within the base's spread", true, up, []float64{0.52}, []float64{0.50, 0.53, 0.48}, judge.Same, 0},
		{"no direction", true, no, []float64{0.9}, []float64{0.50, 0.51, 0.49}, judge.None, 0},
		{"no base", true, up, []float64{0.9}, nil, judge.None, 0},
		{"no value", true, up, nil, []float64{1, 2, 3}, judge.None, 0},
		{"one run of the base", true, up, []float64{0.9}, []float64{0.5}, judge.Undecided, 2},
		{"two runs of the base", true, up, []float64{0.9}, []float64{0.5, 0.5}, judge.Undecided, 1},
		{"runs that repeat to the last digit", true, up, []float64{0.5000001}, []float64{0.5, 0.5, 0.5}, judge.Better,
			0},
		{"runs that may share their seed", false, up, []float64{0.6}, []float64{0.5, 0.5, 0.5}, judge.Undecided, 0},
		{"runs that may share it, and this one too", false, up, []float64{0.5}, []float64{0.5, 0.5, 0.5}, judge.Same,
			0},
		{"the same to the last digit", true, up, []float64{0.5}, []float64{0.5, 0.5, 0.5}, judge.Same, 0},
		{"sums that round", true, up, []float64{0.1 + 0.2}, []float64{0.3, 0.3, 0.3}, judge.Same, 0},
		{"a loss that diverged", true, down, []float64{nan}, []float64{1, 2, 3}, judge.Worse, 0},
		{"one of two runs diverged", true, up, []float64{1, inf}, []float64{1, 2, 3}, judge.Worse, 0},
		{"both sides diverged", true, down, []float64{nan}, []float64{1, 2, 3, nan}, judge.Undecided, 0},
		{"a diverged run of the base is none", true, down, []float64{2}, []float64{1, 2, nan}, judge.Undecided, 1},
		{"only diverged runs of the base", true, down, []float64{2}, []float64{nan, inf}, judge.None, 0},
		{"several runs", true, down, []float64{1, 1.1, 0.9}, []float64{2, 2.1, 1.9, 2.05}, judge.Better, 0},
		{"huge values", true, up, []float64{1e300}, []float64{-1e300, 1e300, 0}, judge.Same, 0},
	} {
		f := judge.Compare([]judge.Metric{{Name: "m", Direction: c.direction, This: c.this, Base: c.base}}, c.seeded)[0]
		require.Equal(t, c.want, f.Verdict, c.name)
		require.Equal(t, c.missing, f.Missing, c.name)
	}
	require.Empty(t, judge.Compare(nil, true))
}

// TestDirectionsAgainstScikitLearn asks scikit-learn for its scorers, of which higher is
// always better, and for its losses and errors, of which lower is.
func TestDirectionsAgainstScikitLearn(t *testing.T) {
	python := testenv.Python(t)
	t.Parallel()
	output, err := exec.Command(python, "-c", `
import json, sys, sklearn.metrics as m
json.dump({"scorers": m.get_scorer_names(),
           "losses": [n for n in m.__all__ if n.endswith(("_loss", "_error"))]}, sys.stdout)`).Output()
	require.NoError(t, err)
	var names struct{ Scorers, Losses []string }
	require.NoError(t, json.Unmarshal(output, &names))
	require.Greater(t, len(names.Scorers), 40)
	require.Greater(t, len(names.Losses), 10)
	known := 0
	for _, n := range names.Scorers {
		require.NotEqual(t, judge.LowerIsBetter, judge.DirectionOf(n), n)
		if judge.DirectionOf(n) == judge.HigherIsBetter {
			known++
		}
	}
	require.Greater(t, known, len(names.Scorers)*3/4)
	for _, n := range names.Losses {
		require.Equal(t, judge.LowerIsBetter, judge.DirectionOf(n), n)
	}
}

func TestDirections(t *testing.T) {
	t.Parallel()
	up, down, no := judge.HigherIsBetter, judge.LowerIsBetter, judge.NoDirection
	for name, want := range map[string]judge.Direction{
		"accuracy": up, "val_accuracy": up, "val/acc": up, "valAccuracy": up, "acc@5": up, "top5_acc": up,
		"mAP@0.5": up, "mAP50": up, "mAP_50_95": up, "f1_macro": up, "eval/f1-score": up, "test_auc": up,
		"r2": up, "R2_score": up, "episode_reward": up, "anomaly_score": up, "neg_log_loss": up,
		"loss": down, "train/loss_epoch": down, "val_loss": down, "rmse": down, "mean_squared_error": down,
		"error_rate": down, "eval/perplexity": down, "WER": down, "brier_score": down,
		"trainLoss": down, "val/box_loss": down, "MAE": down, "test_mae": down, "log_loss": down, "ppl": down,
		"val/nll": down, "cross_entropy/crossentropy": down, "FID": down, "neg_accuracy": down, "eval/focalloss": down,
		"testAccuracy": up, "F1-macro": up, "roc_auc_score": up, "metrics/mAP50": up, "BLEU": up, "rougeL_score": up,
		"mIoU": up, "ndcg@10": up, "neg_mean_squared_error": up, "top1_acc": up, "hit_rate": up,
		"latency": no, "glossary": no, "terror": no,
		"lr": no, "learning_rate": no, "loss_scale": no, "epoch": no, "grad_norm": no, "gpu/memory": no,
		"fit_time": no, "score_time": no, "step": no, "n_parameters": no, "samples": no, "κλάση": no, "": no, "///": no,
	} {
		require.Equal(t, want, judge.DirectionOf(name), name)
	}
}
