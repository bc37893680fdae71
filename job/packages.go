package job

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// Packages is an environment as a list of packages, complete in itself: what other files
// it names is in it.
type Packages struct {
	Conda       string `json:",omitempty"` // a conda environment file
	Pip         string `json:",omitempty"` // or a requirements file
	Constraints string `json:",omitempty"` // of pip
}

// Packages returns what the job's environment installs, nil where that is nothing: the
// requirements file, the conda file or what the job file has in its place.
func (j *Job) Packages() (*Packages, error) {
	e := j.Environment
	r := requirements{job: j}
	switch {
	case e == nil:
		return nil, nil
	case e.Requirements != "":
		pip, err := r.file(e.Requirements, nil)
		return &Packages{Pip: strings.Join(pip, ""), Constraints: strings.Join(r.constraints, "")}, err
	case e.CondaFile != "":
		text, err := j.read(e.CondaFile)
		if err != nil {
			return nil, err
		}
		var conda any
		if err := yaml.Unmarshal(text, &conda); err != nil {
			return nil, fmt.Errorf("%s: %w", e.CondaFile, err)
		}
		return r.conda(e.CondaFile, conda)
	case e.Conda != nil:
		return r.conda("", e.Conda)
	}
	return nil, nil
}

// read reads a file that the job names.
func (j *Job) read(name string) ([]byte, error) {
	f, err := j.Open(name, j.environmentNamed)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Read(limited.Config)
}

// requirements reads files in pip's format (pip.pypa.io, "Requirements File Format").
type requirements struct {
	job         *Job
	constraints []string
	files       int
}

// maxRequirements is how many files one names at most, itself included.
const maxRequirements = 100

// file returns the lines of a file, with those of the files that it names in place.
// Within are those that name it.
func (r *requirements) file(name string, within []string) ([]string, error) {
	if r.files++; slices.Contains(within, name) || r.files > maxRequirements {
		return nil, fmt.Errorf("%s names itself, or more than %d files",
			strings.Join(append(within, name), ", which names "), maxRequirements)
	}
	text, err := r.job.read(name)
	if err != nil {
		return nil, err
	}
	return r.lines(name, string(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))), within)
}

var (
	comment = lazyregexp.New(`(^|\s)#.*$`)
	// include is an option that names another file.
	include = lazyregexp.New(`^(-r|-c|--requirement\b|--constraint\b)\s*=?\s*(.+)$`)
	// source is one that names where packages come from.
	source = lazyregexp.New(`^(?:-f|--find-links|-i|--index-url|--pypi-url|--extra-index-url)(?:\s*=\s*|\s+)(\S+)`)
	// remote is an address from which pip loads, without the file system.
	remote = lazyregexp.New(`^(?:(?:git|hg|svn|bzr)\+)?(?:https?|ssh|git)://`)
	// direct is a requirement with its address (PEP 508).
	direct = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*(\S+)`)
	// archive is the name of a file that pip installs.
	archive = lazyregexp.New(`(?i)\.(?:whl|zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)(?:\s|\[|;|$)`)
)

func (r *requirements) lines(name, text string, within []string) (all []string, err error) {
	// A backslash at its end joins a line with the next one, before comments are taken out.
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(comment.ReplaceAllString(strings.TrimSuffix(line, "\n"), ""))
		if line == "" {
			continue
		}
		if m := include.FindStringSubmatch(line); m != nil {
			more, err := r.include(name, m[1], strings.Trim(m[2], `"' `), within)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
			continue
		}
		if why := local(line); why != "" {
			return nil, fmt.Errorf("%s: %q %s", name, line, why)
		}
		all = append(all, line+"\n")
	}
	return all, nil
}

func (r *requirements) include(name, option, other string, within []string) ([]string, error) {
	if remote.MatchString(other) {
		return nil, fmt.Errorf("%s: %s %s is elsewhere, where it can change; put the file into the repository", name,
			option, other)
	}
	other = path.Join(path.Dir(filepath.ToSlash(name)), filepath.ToSlash(other))
	lines, err := r.file(other, append(slices.Clone(within), name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if strings.HasPrefix(option, "-c") || strings.HasPrefix(option, "--c") {
		r.constraints = append(r.constraints, lines...)
		return nil, nil
	}
	return lines, nil
}

// local says why a line cannot be kept by its content, "" where it can: what it installs
// lies on this machine, and may be another thing tomorrow.
func local(line string) string {
	const instead = "; leave the project itself out, and let the job find it by environment_variables: {PYTHONPATH: " +
		"src}, or install it in the command"
	at := line
	if m := source.FindStringSubmatch(line); m != nil {
		if !remote.MatchString(m[1]) {
			return "names a folder of this machine, and an environment is known by what its file says; name a server"
		}
		return ""
	}
	if strings.HasPrefix(line, "-e") || strings.HasPrefix(line, "--editable") {
		return "installs a working tree, not the snapshot that trains" + instead
	}
	if strings.HasPrefix(line, "-") {
		return ""
	}
	if m := direct.FindStringSubmatch(line); m != nil {
		at = m[1]
	}
	before, _, _ := strings.Cut(at, ";")
	switch {
	case remote.MatchString(at):
		return ""
	case strings.HasPrefix(at, "."), strings.HasPrefix(at, "~"), strings.HasPrefix(at, "file:"),
		strings.ContainsAny(before, `/\`), archive.MatchString(at):
		return "lies on this machine, and an environment is known by what its file says" + instead
	}
	return ""
}

// conda returns an environment file with the files that its list for pip names in place.
func (r *requirements) conda(name string, conda any) (*Packages, error) {
	spec, ok := conda.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%sno conda environment: it is a mapping with dependencies", prefix(name))
	}
	list, _ := spec["dependencies"].([]any)
	for i, d := range list {
		pip, _ := d.(map[string]any)
		given, ok := pip["pip"].([]any)
		if !ok {
			continue
		}
		var all []any
		for _, one := range given {
			lines, err := r.lines(name, fmt.Sprint(one), nil)
			if err != nil {
				return nil, err
			}
			for _, line := range lines {
				all = append(all, strings.TrimSuffix(line, "\n"))
			}
		}
		if len(r.constraints) > 0 {
			return nil, errors.New(prefix(name) + "constraints (-c) of pip have no place in a conda file; pin the " +
				"versions in it")
		}
		list = slices.Clone(list)
		list[i] = map[string]any{"pip": all}
	}
	spec = map[string]any{"dependencies": list, "channels": spec["channels"]}
	if spec["channels"] == nil {
		delete(spec, "channels")
	}
	text, err := yaml.MarshalWithOptions(spec, yaml.IndentSequence(true))
	return &Packages{Conda: string(text)}, err
}

func prefix(name string) string {
	if name == "" {
		return "environment.conda_file: "
	}
	return name + ": "
}
