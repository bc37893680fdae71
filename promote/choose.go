package promote

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Chosen is the model among the files of a run.
type Chosen struct {
	Path   string   // a folder, or a file
	Files  []string // all of it, by path
	MLflow bool     // a model of MLflow's: a folder with MLmodel in it
}

// mlmodel is the file that makes a folder a model of MLflow's.
const mlmodel = "MLmodel"

// ChoiceError is the error of files among which nobody can tell which is the model.
type ChoiceError struct{ Reason string }

func (e *ChoiceError) Error() string { return e.Reason }

// Choose finds the model among the files of a run, by path: what is named; else the one folder
// that is a model of MLflow's; else the one file or folder in outputs that is called model,
// whatever is behind a dot.
func Choose(files []string, named string) (Chosen, error) {
	files = slices.Sorted(slices.Values(files))
	if named != "" {
		return at(files, strings.Trim(path.Clean(named), "/"))
	}
	var models, called []string
	for _, f := range files {
		if path.Base(f) == mlmodel && path.Dir(f) != "." {
			models = append(models, path.Dir(f))
		}
		rest, ok := strings.CutPrefix(f, "outputs/")
		top, _, _ := strings.Cut(rest, "/")
		base, _, _ := strings.Cut(top, ".")
		if name := "outputs/" + top; ok && base == "model" && !slices.Contains(called, name) {
			called = append(called, name)
		}
	}
	models = slices.DeleteFunc(models, func(m string) bool { // one that is part of another
		return slices.ContainsFunc(models, func(o string) bool { return strings.HasPrefix(m, o+"/") })
	})
	for _, list := range [][]string{models, called} {
		switch len(list) {
		case 0:
			continue
		case 1:
			return at(files, list[0])
		}
		slices.Sort(list)
		return Chosen{}, &ChoiceError{"nobody can tell which of " + some(list) +
			" is the model; name it with path (--path)"}
	}
	return Chosen{}, &ChoiceError{"nothing among its outputs is a model: neither a folder with " + mlmodel +
		", nor outputs/model or outputs/model.*; name it with path (--path)" + has(files)}
}

func at(files []string, name string) (Chosen, error) {
	c := Chosen{Path: name}
	for _, f := range files {
		if f == name || strings.HasPrefix(f, name+"/") {
			c.Files = append(c.Files, f)
			c.MLflow = c.MLflow || f == name+"/"+mlmodel
		}
	}
	if len(c.Files) == 0 {
		return c, &ChoiceError{fmt.Sprintf("it has nothing at %s%s", name, has(files))}
	}
	return c, nil
}

// has says what there is instead.
func has(files []string) string {
	var list []string
	for _, f := range files {
		rest, ok := strings.CutPrefix(f, "outputs/")
		top, _, _ := strings.Cut(rest, "/")
		if name := "outputs/" + top; ok && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return "; it has no outputs"
	}
	return "; it has " + some(list)
}

// some names the first of a list, and how many more there are.
func some(list []string) string {
	if n := len(list); n > 8 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:8], ", "), n-8)
	}
	return strings.Join(list, ", ")
}
