// Package imports answers: what does a name mean that Python could not import?
//
// It is a module of the repository that Python does not look for where it lies, one of a
// package that the environment lacks, or one of Python's own that this Python lacks. What
// is the repository's is never asked of a package index: a stranger may have published
// something of that name.
package imports

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/suggest"
)

// Repository is where modules are looked for, in the order in which folders are nearer.
type Repository struct {
	FS     fs.FS  // from its root
	Source string // the source directory, slash-separated, "." at the root
	Script string // the script's folder, relative to the source directory; "." where it is not known
}

// Module is a module that a repository holds.
type Module struct {
	Path string // of its file or folder, from the repository's root
	Root string // the folder that has to be on Python's path
	Name string // what it is called from there, which is more than was asked of a package's part
	// Missing is the part of a dotted name that its package has not, as a path, and Near
	// the name of the one there that is most alike.
	Missing, Near string

	kind int
}

// Kinds of modules, in the order in which Python takes them.
const (
	regular   = iota // a folder with __init__.py
	extension        // a compiled file
	file             // a .py file
	namespace
	project // a namespace by its looks; what it holds is meant to be imported from inside
)

const (
	maxFolders = 20_000 // that are looked into
	maxFiles   = 200_000
)

// skipped are folders in which no module of one's own lies.
var skipped = []string{"node_modules", "site-packages", "__pycache__", "__pypackages__", "build", "dist",
	"outputs", "logs", "mlruns", "wandb"}

// sources are the folders of a project in which its packages lie.
var sources = []string{"src", "lib", "python"}

// aside are folders whose modules are rarely meant.
var aside = []string{"tests", "test", "docs", "examples", "vendor", "third_party", "external"}

// Find returns the module of the repository that a name means, if it means one.
func (r *Repository) Find(name string) (Module, bool) {
	parts := strings.Split(name, ".")
	found := r.candidates(parts[0])
	if len(found) == 0 {
		return Module{}, false
	}
	slices.SortStableFunc(found, func(a, b Module) int { return slices.Compare(r.rank(a), r.rank(b)) })
	m := found[0]
	strong := r.onPath(m.Root) && m.Name == parts[0] && (m.kind < namespace ||
		slices.Contains(sources, path.Base(m.Root)))
	if !strong && (Package(name) != "" || r.declares(parts[0])) {
		return Module{}, false
	}
	if len(parts) > 1 {
		r.follow(&m, parts)
	}
	return m, true
}

// Near returns the module of one's own that is most like a name, of those that Python finds
// where it looks, "" where none is like it or a project here needs a package of that name.
func (r *Repository) Near(name string) string {
	var known []string
	for _, dir := range []string{".", r.Source, path.Join(r.Source, r.Script), "src", path.Join(r.Source, "src")} {
		entries, _ := fs.ReadDir(r.FS, dir)
		for _, e := range entries {
			stem, script := strings.CutSuffix(e.Name(), ".py")
			if script && !e.IsDir() || e.IsDir() && r.exists(path.Join(dir, e.Name(), "__init__.py")) {
				known = append(known, stem)
			}
		}
	}
	if near := suggest.Nearest(name, known); len(name) > 3 && near != name && !r.declares(name) {
		return near
	}
	return ""
}

// rank orders candidates: those where Python or a build would look, then those that are
// packages, then those that are nearer.
func (r *Repository) rank(m Module) []int {
	look, side := 1, 0
	if r.onPath(m.Root) && m.kind < namespace {
		look = 0
	}
	for part := range strings.SplitSeq(m.Path, "/") {
		if slices.Contains(aside, part) {
			side = 1
		}
	}
	if m.kind == project {
		look = 2
	}
	far := 1
	if within(m.Path, r.Source) {
		far = 0
	}
	return []int{look, side, m.kind, far, strings.Count(m.Path, "/")}
}

func within(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// onPath tells whether a folder is one that Python looks into when the repository's
// programs are started as they are meant to be: that of the script, the source directory,
// the root, and the folders of a project from which a build takes its packages.
func (r *Repository) onPath(dir string) bool {
	if dir == "." || dir == r.Source || dir == path.Join(r.Source, r.Script) {
		return true
	}
	project := path.Dir(dir)
	if slices.Contains(sources, path.Base(dir)) && (project == r.Source || r.isProject(project)) {
		return true
	}
	return r.isProject(dir)
}

func (r *Repository) isProject(dir string) bool {
	if dir == "." {
		return true
	}
	for _, name := range []string{"pyproject.toml", "setup.py", "setup.cfg"} {
		if r.exists(path.Join(dir, name)) {
			return true
		}
	}
	return false
}

func (r *Repository) exists(name string) bool {
	_, err := fs.Stat(r.FS, name)
	return err == nil
}

// compiled is the end of the name of an extension module: .so, .cpython-311-x86_64-linux-gnu.so.
var compiled = lazyregexp.New(`^(\.[\w-]+)?\.(so|pyd)$`)

// candidates returns what is called so in the repository, nearer to its root first.
func (r *Repository) candidates(top string) (found []Module) {
	folders := []string{"."}
	if r.Source != "." {
		folders = append(folders, r.Source) // however far down it lies
	}
	seen, files := map[string]bool{}, 0
	for i := 0; i < len(folders) && i < maxFolders && files < maxFiles; i++ {
		dir := folders[i]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		entries, _ := fs.ReadDir(r.FS, dir)
		files += len(entries)
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "pyvenv.cfg" }) {
			continue
		}
		for _, e := range entries {
			name, at := e.Name(), path.Join(dir, e.Name())
			rest, named := strings.CutPrefix(name, top)
			switch {
			case e.IsDir():
				if strings.HasPrefix(name, ".") || slices.Contains(skipped, name) {
					continue
				}
				folders = append(folders, at)
				if named && rest == "" {
					if kind, ok := r.isPackage(at); ok {
						found = append(found, r.module(at, kind))
					}
				}
			case named && rest == ".py":
				found = append(found, r.module(at, file))
			case named && compiled.MatchString(rest):
				found = append(found, r.module(at, extension))
			}
		}
	}
	return found
}

// isPackage tells what kind of package a folder is. One without __init__.py is one where
// Python files lie in it.
func (r *Repository) isPackage(dir string) (kind int, ok bool) {
	if r.exists(path.Join(dir, "__init__.py")) {
		return regular, true
	}
	kind = namespace
	if r.isProject(dir) {
		kind = project
	}
	depth := strings.Count(dir, "/")
	left := 1000
	fs.WalkDir(r.FS, dir, func(name string, e fs.DirEntry, err error) error {
		if left--; err != nil || left < 0 {
			return fs.SkipAll
		}
		if e.IsDir() && strings.Count(name, "/") > depth+2 {
			return fs.SkipDir
		}
		if ext := path.Ext(name); !e.IsDir() && (ext == ".py" || ext == ".so" || ext == ".pyd") {
			ok = true
			return fs.SkipAll
		}
		return nil
	})
	return kind, ok
}

// module says from where a file or folder is imported, and as what.
func (r *Repository) module(at string, kind int) Module {
	name := path.Base(at)
	if kind == file || kind == extension {
		name, _, _ = strings.Cut(name, ".")
	}
	root := path.Dir(at)
	for root != "." && r.exists(path.Join(root, "__init__.py")) {
		name, root = path.Base(root)+"."+name, path.Dir(root)
	}
	return Module{Path: at, Root: root, Name: name, kind: kind}
}

// follow looks for the rest of a dotted name in the module of its first part.
func (r *Repository) follow(m *Module, parts []string) {
	at := m.Path
	for _, part := range parts[1:] {
		entries, _ := fs.ReadDir(r.FS, at)
		var names []string
		next := ""
		for _, e := range entries {
			stem, end := e.Name(), ""
			if i := strings.IndexByte(stem, '.'); !e.IsDir() && i > 0 {
				stem, end = stem[:i], stem[i:]
			}
			if strings.HasPrefix(stem, "_") || !e.IsDir() && end != ".py" && !compiled.MatchString(end) {
				continue
			}
			if _, ok := r.isPackage(path.Join(at, e.Name())); e.IsDir() && !ok {
				continue
			}
			if names = append(names, stem); stem == part {
				next = path.Join(at, e.Name())
			}
		}
		if next == "" {
			m.Missing = path.Join(at, part)
			if near := suggest.Nearest(part, names); len(part) > 2 {
				m.Near = near
			}
			return
		}
		at = next
	}
	m.Path = at
}
