package judge

import "slices"

// A change whose runs are added until its verdict is decided is judged several times, at
// looks (a group sequential test), and each could be a false alarm. Of Alpha, (runs/most)² is spent by the look after
// that many runs: a look judges with what is spent by it less what was by the one before
// (Kim and DeMets, Design and analysis of group sequential tests based on the type I error
// spending rate function, 1987, the power family with ρ = 2). Early looks find what is plain,
// and most is left for the last.
//
// That a look's level is what it adds, and not what the correlation of the looks would allow
// besides, costs some power, and holds whatever the values are: the false alarms of all looks
// are at most the sum of theirs. The boundaries that use the correlation hold for a known
// spread; with three runs of the base they gave a quarter more false alarms than they may.

const (
	// EnoughPower is how often a comparison sees a difference of Effect of the base's
	// standard deviations, at least, where one that sees none says within noise for good.
	EnoughPower = 0.8
	// Effect is the difference, in standard deviations of the base's runs, whose power decides
	// whether more runs are worth it.
	Effect = 2
	// MostAdded is how many runs can be asked for.
	MostAdded = 100
)

// Looks are the numbers of runs of a change after which it is judged, where most are made
// at most: after the first, half of them, and all.
func Looks(most int) []int {
	looks := []int{1, (most + 1) / 2, most}
	return slices.Compact(looks)
}

// level is how often the look after that many runs is a false alarm, at most; before is the
// number of runs of the look before it.
func level(runs, before, most int) float64 {
	spent := func(n int) float64 {
		share := float64(n) / float64(most)
		return Alpha * share * share
	}
	return spent(runs) - spent(before)
}

// seen are the looks that can be taken with that many runs, each with its level.
func seen(runs, most int) (looks []int, levels []float64) {
	before := 0
	for _, n := range Looks(most) {
		if n > runs {
			break
		}
		looks, levels = append(looks, n), append(levels, level(n, before, most))
		before = n
	}
	return looks, levels
}

// CompareAdded is Compare for a change of which runs are added until it is decided, most at most.
// runs is how many there are now; the values of each metric stand in the order in which the runs
// were made. What a look has found stays found, and runs after the last look do not count before
// the next one.
func CompareAdded(metrics []Metric, seeded bool, runs, most int) []Finding {
	var findings []Finding
	looks, levels := seen(runs, most)
	for i, n := range looks {
		cut := slices.Clone(metrics)
		if n < most {
			for j := range cut {
				cut[j].This = cut[j].This[:min(n, len(cut[j].This))]
			}
		}
		now := compare(cut, seeded, levels[i])
		for j := range findings {
			if v := findings[j].Verdict; v == Better || v == Worse {
				now[j].Verdict = v
			}
		}
		findings = now
	}
	for i := range findings {
		findings[i].This = metrics[i].This
		findings[i].Change = change(metrics[i])
	}
	return findings
}

// PowerAdded is Power for CompareAdded with that many runs, of most: that of the last look which
// they allow. The looks before it find the difference besides, so this is the least.
func PowerAdded(this, base, metrics, most int, effect float64) float64 {
	looks, levels := seen(this, most)
	if len(looks) == 0 {
		return 0
	}
	if last := looks[len(looks)-1]; last < most {
		this = last
	}
	return power(this, base, metrics, effect, levels[len(levels)-1])
}

// More is how many runs of a change are made until its next look, 0 where it is decided:
// something is worse, all is better, or a difference of Effect would have been seen. Where
// the base lacks runs, no more of the change would tell: LeastRuns are made, so that what
// comes next has a base.
func More(findings []Finding, this, base, most int) int {
	judged, open := 0, 0
	for _, f := range findings {
		switch f.Verdict {
		case Worse:
			return 0
		case Better:
			judged++
		case Same:
			judged++
			open++
		}
	}
	if judged == 0 {
		return max(0, min(LeastRuns, most)-this)
	}
	if open == 0 || PowerAdded(this, base, judged, most, Effect) >= EnoughPower {
		return 0
	}
	for _, n := range Looks(most) {
		if n > this {
			return n - this
		}
	}
	return 0
}

// Enough is the smallest limit on the runs of a change that lets CompareAdded see a difference of
// Effect in EnoughPower of cases; 0 where MostAdded are too few.
func Enough(base, metrics int) int {
	for most := 1; most <= MostAdded; most++ {
		if PowerAdded(most, base, metrics, most, Effect) >= EnoughPower {
			return most
		}
	}
	return 0
}
