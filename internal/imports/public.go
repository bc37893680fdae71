package imports

import (
	_ "embed" // the tables
	"path"
	"regexp"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

//go:embed packages.txt
var packagesText string

//go:embed standard.txt
var standardText string

var packages, standard = table(packagesText), table(standardText)

// table reads lines of a name and what belongs to it, which is the name where nothing does.
func table(text string) map[string]string {
	t := map[string]string{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "#" {
			t[fields[0]] = fields[len(fields)-1]
		}
	}
	return t
}

// Package returns the public package that has a module, "" where it is not known.
func Package(module string) string {
	for name := module; ; {
		if pkg := packages[name]; pkg != "" {
			return pkg
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			return ""
		}
		name = name[:i]
	}
}

// Known tells whether a module is a public package's, or Python's own.
func Known(module string) bool {
	top, _, _ := strings.Cut(module, ".")
	return Package(module) != "" || standard[top] != ""
}

// Standard says why a module of Python's own library may be missing, "" of other modules.
func Standard(module string) string {
	top, _, _ := strings.Cut(module, ".")
	for _, name := range []string{module, top} {
		switch note := standard[name]; {
		case strings.HasPrefix(note, "+"):
			return "is part of Python from " + note[1:] + " on, and the one that runs the script is " +
				"older: train with a newer one"
		case strings.HasPrefix(note, "-"):
			return "is no part of Python from " + note[1:] + " on: train with an older one, or replace the import"
		case note == "!":
			return "is part of Python, but the one that runs the script was built without it: train with " +
				"another one, or install the system's package for it"
		}
	}
	return ""
}

// manager is a tool that installs packages, known by its file.
type manager struct {
	files []string
	has   string // what stands in the file for a package, NAME; as a regular expression
	conda bool   // it knows packages by their names in conda's channels
	sync  string // installs what the file has; FILE is its name
	add   string // adds PKG; "" where the file is written by hand
}

var managers = []manager{
	{[]string{"uv.lock"}, `^name = "NAME"\n(?:version = .*\n)?source = \{ (?:registry|git|url|path)`, false,
		"uv sync", "uv add PKG"},
	{[]string{"poetry.lock"}, `^name = "NAME"`, false, "poetry install", "poetry add PKG"},
	{[]string{"pdm.lock"}, `^name = "NAME"`, false, "pdm install", "pdm add PKG"},
	{[]string{"pixi.lock"}, `^\s*(?:- )?name: NAME$|/NAME-\d[^/]*$`, true, "pixi install", "pixi add PKG"},
	{[]string{"Pipfile.lock"}, `^\s*"NAME": \{`, false, "pipenv sync", "pipenv install PKG"},
	{[]string{"environment.yml", "environment.yaml", "conda.yml", "conda.yaml"},
		`^\s*-\s*["']?(?:[\w-]+::)?NAME\s*(?:["'\[=<>!~;@#]|$)`, true,
		"conda env update --file FILE", ""},
	{[]string{"requirements.txt"}, `^\s*NAME\s*(?:[\[=<>!~;@#]|$)`, false, "python -m pip install -r FILE", ""},
}

// declarations are other files in which a project says what it needs.
var declarations = map[string]string{
	"pyproject.toml": `["']NAME\s*(?:[\[=<>!~;@ ][^"']*)?["']|^NAME\s*=`,
	"setup.py":       `["']NAME\s*(?:[\[=<>!~;@ ][^"']*)?["']`,
	"setup.cfg":      `^\s+NAME\s*(?:[\[=<>!~;@]|$)`,
	"Pipfile":        `^["']?NAME["']?\s*=`,
	"pixi.toml":      `^["']?NAME["']?\s*=`,
}

// condaNames are packages that conda's channels have under another name.
var condaNames = map[string]string{"torch": "pytorch", "opencv-python-headless": "opencv", "tables": "pytables",
	"msgpack": "msgpack-python", "faiss-cpu": "faiss-cpu"}

const maxLock = 16 << 20

// Install is how a package gets into the environment of a project.
type Install struct {
	File    string // that says what the environment has, from the repository's root
	Has     bool   // the package stands in it
	Package string // as that file calls it
	Command string // that installs it; where File is written by hand, after it was added there
	ByHand  bool   // the command does not add it to the file
}

// Installer finds the tool that the source directory, or a folder above it, is managed
// with. ok is false where none is known.
func (r *Repository) Installer(pkg string) (Install, bool) {
	for dir := r.Source; ; dir = path.Dir(dir) {
		for _, m := range managers {
			for _, name := range m.files {
				text, err := limited.ReadFS(r.FS, path.Join(dir, name), maxLock)
				if err != nil {
					continue
				}
				i := Install{File: path.Join(dir, name), Package: pkg}
				i.Has = names(text, m.has, pkg)
				if m.conda {
					conda := strings.ToLower(pkg)
					if other := condaNames[pkg]; other != "" {
						conda = other
					}
					i.Has, i.Package = i.Has || names(text, m.has, conda), conda
				}
				i.ByHand = !i.Has && m.add == ""
				i.Command = m.sync
				if !i.Has && m.add != "" {
					i.Command = strings.ReplaceAll(m.add, "PKG", i.Package)
				}
				i.Command = strings.ReplaceAll(i.Command, "FILE", r.fromSource(i.File))
				return i, true
			}
		}
		if dir == "." {
			return Install{}, false
		}
	}
}

// fromSource is a path of the repository relative to the source directory.
func (r *Repository) fromSource(name string) string { return Relative(r.Source, name) }

// Relative is a slash-separated path relative to a folder, both from the same root.
func Relative(dir, name string) string {
	var up string
	for !within(name, dir) {
		dir, up = path.Dir(dir), up+"../"
	}
	if dir == "." {
		return path.Clean(up + name)
	}
	if name == dir {
		return path.Clean(up + ".")
	}
	return up + strings.TrimPrefix(name, dir+"/")
}

// declares tells whether a project here says that it needs the package of a module.
func (r *Repository) declares(top string) bool {
	for dir := r.Source; ; dir = path.Dir(dir) {
		patterns := map[string]string{"requirements-dev.txt": managers[len(managers)-1].has}
		for name, has := range declarations {
			patterns[name] = has
		}
		for _, m := range managers {
			for _, name := range m.files {
				patterns[name] = m.has
			}
		}
		for name, has := range patterns {
			if text, err := limited.ReadFS(r.FS, path.Join(dir, name), maxLock); err == nil && names(text, has, top) {
				return true
			}
		}
		if dir == "." {
			return false
		}
	}
}

// names tells whether a text names a package. In names of packages case does not count,
// and hyphen, underscore and dot are the same (PEP 503).
func names(text []byte, pattern, pkg string) bool {
	name := separators.ReplaceAllString(regexp.QuoteMeta(pkg), "[-_.]+")
	re, err := regexp.Compile("(?mi)" + strings.ReplaceAll(pattern, "NAME", name))
	return err == nil && re.Match(text)
}

var separators = lazyregexp.New(`(?:-|_|\\\.)+`)
