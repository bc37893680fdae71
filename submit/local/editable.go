package local

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/snapshot"
)

// An environment into which the repository was installed with pip install -e (PEP 660)
// imports the working tree, whatever the snapshot is. What it takes from there is put in
// front of it on PYTHONPATH, from the copy: path entries (.pth) and the finders of
// setuptools and editables come after it. A finder that comes first, such as
// meson-python's, stays; the run says so.

//go:embed editable.py
var editableProbe string

// environmentOf is what an interpreter's environment takes from a repository.
type environmentOf struct {
	Paths   []string          // on its path
	Modules map[string]string // by name; where each lies
	Names   []string          // top-level modules of what is installed from there
}

// inFront lets the interpreters of a run import the copy where they would import the
// repository, through env, and returns what could not be done.
func (p *plan) inFront(ctx context.Context, env map[string]string) (warnings []string) {
	if p.Root == "" {
		return nil
	}
	own := p.ownPath(env)
	for _, python := range p.interpreters() {
		if !leadsInto(sitePackages(python, env), p.Root) {
			continue
		}
		e := &environmentOf{}
		if err := probe(ctx, python, p, env, e); err != nil {
			warnings = append(warnings,
				fmt.Sprintf("whether %s imports the snapshot or your working tree could not be found out: %v", python,
					err))
			continue
		}
		entries, missing := p.equivalents(e)
		warnings = append(warnings, p.carry(ctx, e)...)
		for _, entry := range entries {
			if !slices.Contains(own, entry) {
				own = append(own, entry)
			}
		}
		setPath(env, own)
		for name := range e.Modules {
			e.Names = append(e.Names, name)
		}
		slices.Sort(e.Names)
		var still []string
		if e.Names = slices.Compact(e.Names); len(e.Names) > 0 {
			if err := probe(ctx, python, p, env, &still, e.Names...); err != nil {
				warnings = append(warnings, err.Error())
			}
		}
		for _, place := range missing {
			warnings = append(warnings,
				fmt.Sprintf("%s is not in the snapshot, so what %s imports from there is your working tree: let code "+
					"hold it (it lies outside the source directory, or git ignores it)", place, python))
		}
		if len(still) > 0 && len(missing) == 0 {
			warnings = append(warnings,
				fmt.Sprintf("%s imports %s from your working tree, not from the snapshot: it is installed there in a "+
					"way that comes before every path; install it without -e to train what the snapshot holds", python,
					strings.Join(still, ", ")))
		}
	}
	setPath(env, own)
	return warnings
}

// ownPath returns the entries of PYTHONPATH; those that lead into the repository as they
// are in the copy.
func (p *plan) ownPath(env map[string]string) (entries []string) {
	for _, entry := range filepath.SplitList(env["PYTHONPATH"]) {
		if copied, _, ok := p.equivalent(entry); ok {
			entry = copied
		}
		if entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

func setPath(env map[string]string, entries []string) {
	if len(entries) > 0 {
		env["PYTHONPATH"] = strings.Join(entries, string(os.PathListSeparator))
	}
}

// equivalent returns what stands in the copy for a path of the repository, and the path
// relative to its root. ok is false where the path is none, or the copy has nothing there.
func (p *plan) equivalent(path string) (copied, rel string, ok bool) {
	if !filepath.IsAbs(path) {
		return "", "", false
	}
	rel, err := filepath.Rel(p.Root, path)
	if err != nil || !filepath.IsLocal(rel) || strings.HasPrefix(rel, usualHome) {
		return "", "", false
	}
	copied = filepath.Join(p.Base, workDir, rel)
	_, err = os.Stat(copied)
	return copied, rel, err == nil
}

// equivalents returns the entries of PYTHONPATH that stand for what an environment takes
// from the repository, and what of it the copy does not have.
func (p *plan) equivalents(e *environmentOf) (entries, missing []string) {
	for _, path := range e.Paths {
		if copied, rel, ok := p.equivalent(path); ok {
			entries = append(entries, copied)
		} else if rel != "" {
			missing = append(missing, rel)
		}
	}
	for name, path := range e.Modules {
		if filepath.Base(path) == "__init__.py" {
			path = filepath.Dir(path)
		}
		copied, rel, ok := p.equivalent(path)
		if !ok {
			missing = append(missing, rel)
			continue
		}
		// The folder from which the name is imported, where it is called what it is.
		dir, parts := copied, strings.Split(name, ".")
		for i := len(parts) - 1; i >= 0 && dir != ""; i-- {
			if base := filepath.Base(dir); base == parts[i] || base == parts[i]+".py" {
				dir = filepath.Dir(dir)
			} else {
				dir = ""
			}
		}
		if dir == "" && len(parts) == 1 {
			dir = filepath.Join(p.Base, pythonDir)
			if os.MkdirAll(dir, 0o755) != nil || os.Symlink(copied, filepath.Join(dir, name)) != nil {
				continue
			}
		}
		if dir != "" {
			entries = append(entries, dir)
		}
	}
	slices.Sort(missing)
	return entries, slices.Compact(missing)
}

// carry brings to the copy what a build has put beside the code of an installed package
// and git ignores: compiled extensions, and modules that are written, such as a
// _version.py. Without them the package could not be imported.
func (p *plan) carry(ctx context.Context, e *environmentOf) (warnings []string) {
	var carried []string
	places := slices.Clone(e.Paths)
	for _, path := range e.Modules {
		places = append(places, path)
	}
	for _, place := range places {
		filepath.WalkDir(place, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if copied, _, there := p.equivalent(name); err != nil || !there || copied == "" || d.Name() == ".git" {
					return fs.SkipDir // of data that stays here there may be a lot
				}
				return nil
			}
			if ext := filepath.Ext(name); !d.Type().IsRegular() || ext != ".py" && ext != ".so" && ext != ".pyd" {
				return nil
			}
			copied, rel, there := p.equivalent(name)
			if there || rel == "" {
				return nil
			}
			if why, err := snapshot.Why(ctx, nil, p.Root, rel); err != nil || why.Travels || why.Rule == nil ||
				filepath.Base(why.Rule.File) == ".amlignore" {
				return nil
			}
			if copyPlain(name, copied) == nil {
				carried = append(carried, filepath.ToSlash(rel))
				p.carried = append(p.carried, path.Join(workDir, filepath.ToSlash(rel)))
			}
			return nil
		})
	}
	if len(carried) > 0 {
		warnings = append(warnings,
			fmt.Sprintf("taken from your working tree although git ignores it, because an installed package is built "+
				"with it: %s", some(carried)))
	}
	return warnings
}

// pythonDir, in a run's folder, holds the modules that go by another name than their
// files.
const pythonDir = "python"

var programPath = lazyregexp.New(`(/[^\s"';|&()<>]+/)[^\s"';|&()<>/]+`)

// interpreters are those that the run may call: its own, and those in whose folder lies
// something that the command names by its path.
func (p *plan) interpreters() []string {
	var all []string
	if p.Python != "" {
		all = append(all, p.Python)
	}
	for _, m := range programPath.FindAllStringSubmatch(p.Command, 20) {
		python := filepath.Join(m[1], "python")
		if info, err := os.Stat(python); err == nil && info.Mode().IsRegular() && !slices.Contains(all, python) {
			all = append(all, python)
		}
	}
	return all
}

// sitePackages returns the folders in which an interpreter may have packages.
func sitePackages(python string, env map[string]string) []string {
	prefixes := []string{filepath.Dir(filepath.Dir(python)), "/usr/local", env["VIRTUAL_ENV"], env["CONDA_PREFIX"]}
	if real, err := filepath.EvalSymlinks(python); err == nil {
		prefixes = append(prefixes, filepath.Dir(filepath.Dir(real)))
	}
	if home, err := os.UserHomeDir(); err == nil {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
	}
	var dirs []string
	for _, prefix := range prefixes {
		if prefix == "" {
			continue
		}
		for _, pattern := range []string{"lib*/python3*/*-packages", "Lib/site-packages"} {
			found, _ := filepath.Glob(filepath.Join(prefix, filepath.FromSlash(pattern)))
			dirs = append(dirs, found...)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// leadsInto tells whether something in the folders names the repository: a path entry,
// a finder, a link, or the record of an installation. It saves asking the interpreter.
func leadsInto(dirs []string, root string) bool {
	escaped := (&url.URL{Scheme: "file", Path: filepath.ToSlash(root)}).String()
	says := func(name, what string) bool {
		text, err := limited.Read(name, limited.Config)
		return err == nil && strings.Contains(string(text), what)
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, at := e.Name(), filepath.Join(dir, e.Name())
			switch ext := filepath.Ext(name); {
			case ext == ".pth", ext == ".egg-link", ext == ".py" && strings.Contains(name, "editable"):
				if says(at, root) {
					return true
				}
			case ext == ".dist-info":
				if says(filepath.Join(at, "direct_url.json"), escaped) {
					return true
				}
			case e.Type()&fs.ModeSymlink != 0:
				if to, err := filepath.EvalSymlinks(at); err == nil &&
					strings.HasPrefix(to, root+string(filepath.Separator)) {
					return true
				}
			}
		}
	}
	return false
}

// probe asks an interpreter what it takes from the repository.
func probe(ctx context.Context, python string, p *plan, env map[string]string, answer any, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", editableProbe, p.Root}, names...)...)
	cmd.Dir, cmd.Env = p.Base, pairs(env)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out[strings.LastIndexByte(strings.TrimRight(string(out), "\n"), '\n')+1:], answer)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr[max(0, len(exit.Stderr)-300):])))
	}
	return err
}
