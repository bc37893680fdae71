package job

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/internal/lazyregexp"
)

// Unpinned returns what of a list of packages names no single version, so that another
// installation of it may have another one. What a package requires itself is not looked at:
// a list is complete if a tool wrote it (pip freeze, pip-compile, uv export, conda env
// export).
func (p *Packages) Unpinned() []string {
	if p.Conda == "" {
		return unpinned(strings.Split(p.Pip, "\n"), strings.Split(p.Constraints, "\n"))
	}
	var spec struct{ Dependencies []any }
	if err := yaml.Unmarshal([]byte(p.Conda), &spec); err != nil {
		return []string{"dependencies"}
	}
	var out []string
	for _, d := range spec.Dependencies {
		if pip, ok := d.(map[string]any); ok {
			list, _ := pip["pip"].([]any)
			var lines []string
			for _, line := range list {
				lines = append(lines, fmt.Sprint(line))
			}
			out = append(out, unpinned(lines, nil)...)
		} else if text := fmt.Sprint(d); !condaPin.MatchString(strings.TrimSpace(text)) {
			out = append(out, text)
		}
	}
	return out
}

var (
	// pipPin is a requirement of one version (PEP 440, "Version matching"): == without a
	// prefix match, or ===.
	pipPin = lazyregexp.New(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*[^\s,;*]+\s*(?:;|--|$)`)
	// contentPin is an address that says which bytes lie there: a hash, or a commit of git.
	contentPin = lazyregexp.New(`#(?:.*&)?sha(?:256|384|512)=[0-9a-f]{64,}|@[0-9a-f]{40}(?:#|\s|;|$)`)
	// condaPin is a package of one version, or of one build (docs.conda.io, "Package match
	// specifications"): a single = stands for all that begin so.
	condaPin    = lazyregexp.New(`^(?:[^\s:]+::)?[A-Za-z0-9_.-]+(?:\s*==\s*[^\s=<>,|*]+|\s*==?\s*[^\s=<>,|*]+\s*=\s*[^\s=<>,|*]+)$`)
	packageName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]*`)
	separators  = lazyregexp.New(`[-_.]+`)
)

// unpinned returns the lines of a requirements file that neither name a version nor have
// one among the constraints.
func unpinned(lines, constraints []string) (out []string) {
	normal := func(name string) string { return strings.ToLower(separators.ReplaceAllString(name, "-")) }
	pinned := map[string]bool{}
	for _, line := range constraints {
		if m := pipPin.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			pinned[normal(m[1])] = true
		}
	}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "-"), pipPin.MatchString(line), contentPin.MatchString(line):
		case !strings.Contains(line, "@") && pinned[normal(packageName.FindString(line))]:
		default:
			out = append(out, line)
		}
	}
	return out
}
