package job

import (
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/suggest"
)

// asked gives an input another value, as a comment asks for: one that the job declares with a
// value. A comment names neither data nor what the job does not know.
func (d *document) asked(j *Job, name, value string) {
	in, declared := j.Inputs[name]
	switch {
	case !declared:
		var known []string
		for n, in := range j.Inputs {
			if in.Literal {
				known = append(known, n)
			}
		}
		d.flagProblem("/train %s=%s: the job declares no input of that name%s", name, value,
			suggest.DidYouMean(name, known))
	case !in.Literal:
		d.flagProblem("/train %s=%s: the input %s is data; a comment sets values alone", name, value, name)
	case !plain(value):
		d.flagProblem("/train %s=%s: the value is put into the command line as it is, and a shell would interpret "+
			"what it holds besides letters, digits and _ . / : @ %% + = , -", name, value)
	case IsRemote(value), strings.HasPrefix(value, "./"), strings.HasPrefix(value, "../"), filepath.IsAbs(value):
		d.flagProblem("/train %s=%s: the value names data; a comment sets values alone", name, value)
	default:
		j.Inputs[name] = Input{Literal: true, Value: value}
	}
}
