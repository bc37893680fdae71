package sweep

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Sampler gives the trials of a sweep their values. Those of a trial follow from its number
// and the seed alone, so that a sweep that goes on gives the rest what they would have had.
type Sampler struct {
	space    []dimension
	width    int // of a draw: how many dimensions there are, those of nested spaces too
	sampling Sampling
	seed     int64
	shift    []uint32 // of the Sobol sequence

	size  int             // of a space that can be counted, 0 of others
	drawn [][]float64     // of such a one, the quantiles of the trials so far
	seen  map[string]bool // which combinations these are
	draws int             // how many there were
}

// NewSampler makes a sampler. The seed is that of the sampling, where it has one. What it
// cannot do is its error.
func NewSampler(space Space, sampling Sampling, seed int64) (*Sampler, error) {
	s := &Sampler{sampling: sampling, seed: seed, seen: map[string]bool{}}
	if sampling.Seed != nil {
		s.seed = *sampling.Seed
	}
	s.space = dimensions(space, &s.width)
	s.size = combinations(s.space)
	switch {
	case sampling.Type == "bayesian":
		return nil, fmt.Errorf("the sampling is bayesian")
	case sampling.Type == "grid" && !space.Countable():
		return nil, fmt.Errorf("a grid is of choices")
	case sampling.Rule == "sobol" && s.width > MaxSobol:
		return nil, fmt.Errorf("the Sobol sequence here has %d dimensions, and the search space %d", MaxSobol,
			s.width)
	case sampling.Rule == "sobol":
		random := s.random(-1)
		for range s.width {
			s.shift = append(s.shift, random.Uint32())
		}
	}
	return s, nil
}

// random is the source of a trial's values.
func (s *Sampler) random(trial int) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(s.seed))
	binary.LittleEndian.PutUint64(key[8:], uint64(trial))
	return rand.New(rand.NewChaCha8(key))
}

// Trial returns the values of trial i, from 0; false where there is none: a space of which
// every combination had its trial has no more (azureml-train-core, HyperDriveConfig,
// max_total_runs).
func (s *Sampler) Trial(i int) (map[string]any, bool) {
	if s.sampling.Type == "grid" {
		return s.grid(i)
	}
	var at []float64
	if s.size == 0 {
		at = s.quantiles(i)
	} else if at = s.distinct(i); at == nil {
		return nil, false
	}
	return s.values(at), true
}

// values are what a draw stands for.
func (s *Sampler) values(draw []float64) map[string]any {
	values := map[string]any{}
	for k := range s.space {
		values[s.space[k].name] = s.space[k].value(draw, s.sampling.base())
	}
	return values
}

// quantiles are where the values of a draw lie, each in [0, 1).
func (s *Sampler) quantiles(i int) []float64 {
	out := make([]float64, s.width)
	random := s.random(i)
	for k := range out {
		if s.shift != nil {
			// In the middle of its cell: a quantile of 0 is the end of a normal distribution.
			out[k] = (float64(sobol(i, k)^s.shift[k]) + 0.5) / (1 << 32)
		} else {
			out[k] = random.Float64()
		}
	}
	return out
}

// distinct is the i-th draw of those that differ, nil where there are not so many. What
// chance leaves out for long is taken in its order.
func (s *Sampler) distinct(i int) []float64 {
	for ; len(s.drawn) <= i && len(s.drawn) < s.size; s.draws++ {
		if ordered := s.draws - 64*(s.size+1); ordered >= 0 {
			s.add(s.combination(ordered))
		} else {
			s.add(s.quantiles(s.draws))
		}
	}
	if i >= len(s.drawn) {
		return nil
	}
	return s.drawn[i]
}

// combination is the n-th in their order, of which the first hyperparameter changes fastest.
func (s *Sampler) combination(n int) []float64 {
	draw := make([]float64, s.width)
	for k := range s.space {
		count := s.space[k].count()
		s.space[k].set(n%count, draw)
		n /= count
	}
	return draw
}

// add takes a draw unless its combination was drawn before.
func (s *Sampler) add(draw []float64) {
	key := make([]byte, 0, 4*len(draw))
	for k := range s.space {
		key = s.space[k].key(draw, key)
	}
	if !s.seen[string(key)] {
		s.seen[string(key)] = true
		s.drawn = append(s.drawn, draw)
	}
}

// grid is the i-th combination, of which the last hyperparameter changes fastest.
func (s *Sampler) grid(i int) (map[string]any, bool) {
	draw := make([]float64, s.width)
	left := setLast(s.space, i, draw)
	return s.values(draw), left == 0
}

// sobol is coordinate k of point i of the Sobol sequence, as a fraction of 2^32: the points
// are those of the Gray code's order (Antonov and Saleev 1979), with the direction numbers
// of Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections",
// SIAM J. Sci. Comput. 30, 2008.
func sobol(i, k int) uint32 {
	var x uint32
	gray := uint32(i) ^ uint32(i)>>1
	v := directions[k]
	for bit := 0; gray != 0; bit, gray = bit+1, gray>>1 {
		if gray&1 != 0 {
			x ^= v[bit]
		}
	}
	return x
}

// directions are the direction numbers of each coordinate.
var directions = func() (all [MaxSobol][32]uint32) {
	for bit := range 32 {
		all[0][bit] = 1 << (31 - bit)
	}
	for k, row := range joeKuo {
		v, degree := &all[k+1], len(row.start)
		for bit := range 32 {
			if bit < degree {
				v[bit] = row.start[bit] << (31 - bit)
				continue
			}
			v[bit] = v[bit-degree] ^ v[bit-degree]>>degree
			for j := 1; j < degree; j++ {
				if row.polynomial>>(degree-1-j)&1 != 0 {
					v[bit] ^= v[bit-j]
				}
			}
		}
	}
	return all
}()
