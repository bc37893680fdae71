package job

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/suggest"
)

// expression is Azure ML's ${{inputs.NAME}}, with spaces allowed
// inside the braces.
var expression = lazyregexp.New(`\$\{\{\s*([^{}]*?)\s*\}\}`)

// Expand puts values into the expressions of the command, as Azure ML does: as
// they are, without quoting, so that a job means the same on every target. The
// keys of values are "inputs.NAME", "outputs.NAME" and "search_space.NAME".
func (j *Job) Expand(values map[string]string) string {
	return expression.ReplaceAllStringFunc(j.Command, func(s string) string {
		if v, ok := values[normalise(expression.FindStringSubmatch(s)[1])]; ok {
			return v
		}
		return s
	})
}

// Uses tells whether the command names an input.
func (j *Job) Uses(input string) bool {
	return slices.ContainsFunc(expression.FindAllStringSubmatch(j.Command, -1), func(m []string) bool {
		return normalise(m[1]) == "inputs."+input
	})
}

// normalise drops the ".path" that Azure ML accepts behind a name.
func normalise(ref string) string {
	if strings.Count(ref, ".") == 2 {
		ref = strings.TrimSuffix(ref, ".path")
	}
	return ref
}

// kindOf is what a section of expressions has.
var kindOf = map[string]string{"inputs": "input", "outputs": "output", "search_space": "hyperparameter"}

type reference struct{ text, problem string }

// unresolved returns the expressions of the command that nothing stands for.
func unresolved(j *Job) []reference {
	var out []reference
	for _, m := range expression.FindAllStringSubmatch(j.Command, -1) {
		section, name, _ := strings.Cut(normalise(m[1]), ".")
		var known []string
		switch section {
		case "inputs":
			for n := range j.Inputs {
				known = append(known, n)
			}
		case "outputs":
			for n := range j.Outputs {
				known = append(known, n)
			}
		case "search_space":
			if j.Sweep != nil {
				known = j.Sweep.SearchSpace.Names()
				break
			}
			out = append(out, reference{m[0], m[0] +
				" stands for a value of a sweep's search space, and this job is no sweep"})
			continue
		default:
			out = append(out, reference{m[0], fmt.Sprintf("%s means nothing here; a command can name "+
				"${{inputs.NAME}} and ${{outputs.NAME}}%s", m[0],
				suggest.DidYouMean(section, []string{"inputs", "outputs"}))})
			continue
		}
		if !slices.Contains(known, name) {
			out = append(out, reference{m[0], fmt.Sprintf("%s: the job has no %s called %q%s", m[0], kindOf[section],
				name, suggest.DidYouMean(name, known))})
		}
	}
	return out
}

// reference in a text that is not the command. Azure ML fills in ${{name}} and others of
// its own in the paths of outputs.
var fieldReference = lazyregexp.New(`\$\{\{\s*(?:inputs|outputs|search_space|parent)\.[^{}]*\}\}`)

// unexpanded reports an expression where Azure ML leaves it as it is: its commands know
// no $[[ ]] outside a component, and its other fields no inputs and outputs.
func (d *document) unexpanded(v *value, what string) {
	if strings.Contains(v.text, "$[[") {
		d.report(v.line, v.column, "%s: $[[ ]] is for components of a pipeline; a job's command leaves it as it is",
			what)
	}
	if m := fieldReference.FindString(v.text); m != "" && what != "command" && what != "description" {
		d.report(v.line, v.column, "%s: %s is put into the command alone, and stays as it is here", what, m)
	}
}
