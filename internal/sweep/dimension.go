package sweep

import (
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// dimension is a distribution with where in a draw its quantile stands. A choice of search
// spaces has dimensions below it, those of each space: a draw has a quantile for all of them,
// and those of the spaces that were not chosen stand for nothing.
type dimension struct {
	Distribution
	name   string
	at     int           // its place in a draw
	below  [][]dimension // of each value that is a search space
	counts []int         // how many combinations each value of a choice stands for, 0 for more than can be counted
}

// dimensions are those of a search space by their names, places taken from next on: first
// its own, then those below.
func dimensions(space Space, next *int) []dimension {
	var list []dimension
	for _, name := range space.Names() {
		list = append(list, dimension{Distribution: space[name], name: name, at: *next})
		*next++
	}
	for i := range list {
		x := &list[i]
		for _, v := range x.Values {
			count := 1
			var below []dimension
			if nested, is := v.(map[string]any); is {
				below = dimensions(distributionsOf(nested), next)
				count = combinations(below)
			}
			x.below, x.counts = append(x.below, below), append(x.counts, count)
		}
	}
	return list
}

// distributionsOf are those among the values of a nested search space.
func distributionsOf(nested map[string]any) Space {
	space := Space{}
	for name, v := range nested {
		if d, is := v.(Distribution); is {
			space[name] = d
		}
	}
	return space
}

// combinations is how many there are of the values of dimensions, 0 for more than can be
// counted.
func combinations(list []dimension) int {
	all := 1
	for i := range list {
		over, n := bits.Mul64(uint64(all), uint64(list[i].count()))
		if all = int(n); over > 0 || n > math.MaxInt32 {
			return 0
		}
	}
	return all
}

// count is how many values there are, 0 for more than can be counted.
func (x *dimension) count() int {
	switch x.Type {
	case "choice":
		all := 0
		for _, n := range x.counts {
			if all += n; n == 0 || all > math.MaxInt32 {
				return 0
			}
		}
		return all
	case "randint":
		return int(x.Numbers[0])
	}
	return 0
}

// index is which value of a choice a draw stands for.
func (x *dimension) index(draw []float64) int {
	return min(int(draw[x.at]*float64(len(x.Values))), len(x.Values)-1)
}

// value is what a draw stands for. Of a search space, it is what its hyperparameters are, by
// their names.
func (x *dimension) value(draw []float64, base float64) any {
	if x.Type != "choice" {
		return x.Distribution.at(draw[x.at], base)
	}
	i := x.index(draw)
	nested, is := x.Values[i].(map[string]any)
	if !is {
		return x.Values[i]
	}
	values := maps.Clone(nested)
	for k := range x.below[i] {
		values[x.below[i][k].name] = x.below[i][k].value(draw, base)
	}
	return values
}

// key appends what tells the combination of a draw from others; it has to be one that can be
// counted.
func (x *dimension) key(draw []float64, to []byte) []byte {
	if x.Type != "choice" {
		return binary.LittleEndian.AppendUint32(to, uint32(draw[x.at]*x.Numbers[0]))
	}
	i := x.index(draw)
	to = binary.LittleEndian.AppendUint32(to, uint32(i))
	for k := range x.below[i] {
		to = x.below[i][k].key(draw, to)
	}
	return to
}

// set makes a draw stand for the n-th value.
func (x *dimension) set(n int, draw []float64) {
	if x.Type != "choice" {
		draw[x.at] = (float64(n) + 0.5) / x.Numbers[0]
		return
	}
	for i, count := range x.counts {
		if n >= count {
			n -= count
			continue
		}
		draw[x.at] = (float64(i) + 0.5) / float64(len(x.Values))
		setLast(x.below[i], n, draw)
		return
	}
}

// setLast makes a draw stand for the n-th combination, of which the last hyperparameter
// changes fastest, and returns what is left of n.
func setLast(list []dimension, n int, draw []float64) int {
	for k := range slices.Backward(list) {
		count := list[k].count()
		list[k].set(n%count, draw)
		n /= count
	}
	return n
}
