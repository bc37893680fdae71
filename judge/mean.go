package judge

import (
	"slices"

	"gonum.org/v1/gonum/stat"
)

// Mean is the arithmetic mean: the value itself where all are the same, and the same in whichever
// order they stand. A sum that is divided by the number of its terms can miss both by its last
// digit, which then shows as a change, or breaks a rule whose limit is that value. NaN of none.
func Mean(values []float64) float64 {
	mean, _ := MeanDeviation(values)
	return mean
}

// MeanDeviation is Mean and the sample's standard deviation, 0 where all values are the same, and
// NaN where there are fewer than two.
func MeanDeviation(values []float64) (mean, deviation float64) {
	sorted := slices.Sorted(slices.Values(values))
	mean, deviation = stat.MeanStdDev(sorted, nil)
	if n := len(sorted); n > 1 && sorted[0] == sorted[n-1] {
		return sorted[0], 0
	}
	return mean, deviation
}
