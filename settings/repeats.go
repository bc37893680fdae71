package settings

import (
	"cmp"
	"fmt"

	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/train"
)

// UsuallyAtMost is how many runs a verdict may cost where nobody says.
const UsuallyAtMost = 6

// Repeats says how often a job is trained, with a seed of its own each time.
type Repeats struct {
	Seeds  int    `yaml:"seeds"` // that often
	Until  string `yaml:"until" oneof:"decided"`
	AtMost int    `yaml:"at most"` // runs, where Until says when they are enough
	Input  string `yaml:"input"`   // of the job, that is the seed
}

// check reports what is wrong with them.
func (r Repeats) check(report func(key string, offset int, message string)) {
	switch {
	case r.Seeds > 0 && r.Until != "":
		report("repeats.until", 0, "repeats names both seeds, a number of runs, and until; give one of them")
	case r.AtMost > 0 && r.Until == "":
		report("repeats.at most", 0, "at most says where until: decided ends; a number of runs is seeds")
	}
	for key, n := range map[string]int{"seeds": r.Seeds, "at most": r.AtMost} {
		if n > judge.MostAdded {
			report("repeats."+key, 0, fmt.Sprintf("repeats.%s is %d; the most is %d", key, n, judge.MostAdded))
		}
	}
}

// Plan is what train makes of them.
func (r Repeats) Plan() train.Repeats {
	p := train.Repeats{Seeds: r.Seeds, Input: r.Input}
	if r.Until != "" {
		p.AtMost = cmp.Or(r.AtMost, UsuallyAtMost)
	}
	return p
}
