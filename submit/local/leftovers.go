package local

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/size"
)

// Nothing that a run made is lost in silence: a file that it wrote or changed outside
// ./outputs and ./logs is kept where the job's patterns say so, and else lies in a folder
// that the run names, until the run after the one whose report named it.

// leftDir, beside the runs' folders, holds what ended runs left outside their special
// folders, one folder a run.
const leftDir = "left"

// leftover is a file that the command wrote or changed outside its special folders.
type leftover struct {
	path    string // slash-separated, relative to the working directory
	at      string // the same, relative to the run's base
	info    fs.FileInfo
	changed bool // it is one of the snapshot's
	same    bool // it was written, and holds what it held: a result all the same, and nothing is lost
}

// inside is where a leftover goes among others: what was written above the working
// directory lies beside what was written in it.
func (l leftover) inside() string {
	name := l.path
	for strings.HasPrefix(name, "../") {
		name = name[len("../"):]
	}
	return name
}

// ofRun are the entries of a run's folder that are not the command's.
var ofRun = []string{namedDir, inputsDir, toolsDir, pythonDir, spareList, "spare", firstDir,
	lockFile, cancelFile, planFile, ownLog, reserve}

// leftovers finds what the command wrote or changed outside its special folders.
func (p *plan) leftovers(base *os.Root) (list []leftover, err error) {
	known, _, err := recorded(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	special := []string{path.Join(p.within(), "outputs"), path.Join(p.within(), "logs")}
	err = fs.WalkDir(base.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fs.SkipDir // a script took its rights away
			}
			return err
		}
		if d.IsDir() {
			if slices.Contains(ofRun, name) || slices.Contains(special, name) || d.Name() == ".git" ||
				d.Name() == "__pycache__" || isEnvironment(base, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() && d.Type()&fs.ModeSymlink == 0 || slices.Contains(ofRun, name) ||
			slices.Contains(p.carried, name) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		c, ours := known[strings.TrimPrefix(name, workDir+"/")]
		ours = ours && strings.HasPrefix(name, workDir+"/")
		if ours && (filestat.Of(info) == c.Stat || !d.Type().IsRegular()) {
			return nil
		}
		same := ours && sameBlob(base, name, info, c.OID)
		rel, err := filepath.Rel(filepath.FromSlash(p.within()), filepath.FromSlash(name))
		if err == nil {
			list = append(list, leftover{filepath.ToSlash(rel), name, info, ours, same})
		}
		return err
	})
	return list, err
}

// isEnvironment tells whether a folder is a virtual environment, which can be made anew.
func isEnvironment(base *os.Root, dir string) bool {
	return isFile(base, path.Join(dir, "pyvenv.cfg"))
}

// sameBlob tells whether a file that was written again holds what it held.
func sameBlob(base *os.Root, name string, info fs.FileInfo, id plumbing.Hash) bool {
	f, err := base.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h := object.NewHash(plumbing.BlobObject, info.Size())
	n, err := io.Copy(h, f)
	return err == nil && n == info.Size() && object.Sum(h) == id
}

// save keeps the leftovers that the job's patterns name among the run's artifacts, and
// puts the others where they stay until the next run. It says what it did with them.
func (t *Target) save(p *plan, base *os.Root, c *collector, list []leftover) {
	keep := newKeeper(p.Keep)
	c.from, c.to, c.name, c.odd = base, p.Artifacts, "", nil
	var rest []leftover
	for _, l := range list {
		if l.same {
			continue
		}
		if first, _, _ := strings.Cut(l.inside(), "/"); keep.matches(l.path) && first != "user_logs" &&
			first != namedDir {
			c.keepAs(l.at, l.inside(), l.info)
		} else {
			rest = append(rest, l)
		}
	}
	if len(c.odd) > 0 {
		c.warn("not kept, because only files are: %s", some(c.odd))
	}
	if len(rest) == 0 {
		return
	}
	if err := t.setAside(p.Run, base, rest); err != nil {
		c.warn("%v", err)
	}
	what, patterns := grouped(rest)
	c.warn("written outside ./outputs and ./logs: %s. Until the next run here it lies in %s; keep: [%s] in the job "+
		"file or in .aml-train.yaml keeps it with the run",
		what, filepath.Join(t.place(), leftDir, p.Run), strings.Join(patterns, ", "))
}

// leftFolder opens the folder of what runs left.
func (t *Target) leftFolder(create bool) (*os.Root, error) {
	if t.place() == t.Store.Home {
		return home.Folder(t.Store.Files, leftDir, create)
	}
	at, err := home.Private(t.place(), create)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return home.Folder(at.Root, leftDir, create)
}

// setAside moves leftovers to the folder of their run, which comes to its name when it is
// complete: a run that starts meanwhile removes those that are.
func (t *Target) setAside(run string, base *os.Root, list []leftover) error {
	left, err := t.leftFolder(true)
	if err != nil {
		return err
	}
	defer left.Close()
	staged := "." + run
	var failed []string
	for _, l := range list {
		to := path.Join(staged, l.inside())
		if cmp.Or(left.MkdirAll(path.Dir(to), 0o755), rename(base, l.at, left, to)) != nil {
			failed = append(failed, l.path)
		}
	}
	removeAll(left, run)
	left.Remove(told + run)
	if err := left.Rename(staged, run); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("lost with the run's copy: %s", some(failed))
	}
	return nil
}

// told starts the name of the entry beside a run's leftovers that says that somebody was
// told of them.
const told = ".told-"

// Told notes that somebody was told where what a run left lies: from then on the next run
// removes it.
func (t *Target) Told(run string) {
	left, err := t.leftFolder(false)
	if err != nil {
		return
	}
	defer left.Close()
	if info, err := left.Lstat(run); history.ValidID(run) && err == nil && info.IsDir() {
		left.WriteFile(told+run, nil, 0o600)
	}
}

// Untold returns the folders of what runs left that nobody was told of, by run.
func (t *Target) Untold() map[string]string {
	untold := map[string]string{}
	left, err := t.leftFolder(false)
	if err != nil {
		return untold
	}
	defer left.Close()
	entries, _ := fs.ReadDir(left.FS(), ".")
	for _, e := range entries {
		if _, err := left.Lstat(told + e.Name()); err != nil && !strings.HasPrefix(e.Name(), ".") {
			untold[e.Name()] = filepath.Join(t.place(), leftDir, e.Name())
		}
	}
	return untold
}

// forgetLeftovers removes what runs have left that ended before this one, as far as
// somebody was told of it.
func (t *Target) forgetLeftovers() {
	left, err := t.leftFolder(false)
	if err != nil {
		return
	}
	defer left.Close()
	entries, _ := fs.ReadDir(left.FS(), ".")
	for _, e := range entries {
		if run, ok := strings.CutPrefix(e.Name(), told); ok {
			removeAll(left, run)
			left.Remove(e.Name())
		} else if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), ".") &&
			time.Since(info.ModTime()) > 24*time.Hour {
			removeAll(left, e.Name()) // of a supervisor that was killed
		}
	}
}

// grouped names leftovers for people: folders with what is in them, the largest first,
// and the patterns that would keep them.
func grouped(list []leftover) (what string, patterns []string) {
	type group struct {
		name           string
		files, changed int
		bytes          int64
	}
	var groups []*group
	by := map[string]*group{}
	for _, l := range list {
		dirs := strings.Split(l.path, "/")
		n := 1
		for n < len(dirs) && dirs[n-1] == ".." {
			n++
		}
		name := path.Join(dirs[:n]...)
		if n < len(dirs) {
			name += "/"
		}
		g := by[name]
		if g == nil {
			g = &group{name: name}
			groups, by[name] = append(groups, g), g
		}
		g.files++
		g.bytes += l.info.Size()
		if l.changed {
			g.changed++
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(b.bytes, a.bytes) })
	var texts []string
	for _, g := range groups {
		text := size.Format(g.bytes)
		if strings.HasSuffix(g.name, "/") {
			text = fmt.Sprintf("%d files, %s", g.files, text)
			if g.files == 1 {
				text = "1 file, " + size.Format(g.bytes)
			}
		}
		if g.changed > 0 {
			text += ", changed"
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", g.name, text))
		if len(patterns) < 5 {
			patterns = append(patterns, g.name)
		}
	}
	return some(texts), patterns
}

// keeper decides by patterns, as .gitignore has them, which files are kept.
type keeper struct {
	rules *ignore.List
	dirs  map[string]bool
}

func newKeeper(patterns []string) *keeper {
	return &keeper{ignore.Parse([]byte(strings.Join(patterns, "\n")), "keep", "", false), map[string]bool{}}
}

func (k *keeper) matches(name string) bool {
	if len(k.rules.Patterns) == 0 {
		return false
	}
	if p := k.rules.Match(name, false); p != nil {
		return !p.Negated
	}
	return k.below(path.Dir(name))
}

// below tells whether a folder or one above it is kept whole.
func (k *keeper) below(dir string) bool {
	if dir == "." || dir == "/" {
		return false
	}
	kept, known := k.dirs[dir]
	if !known {
		if p := k.rules.Match(dir, true); p != nil {
			kept = !p.Negated
		} else {
			kept = k.below(path.Dir(dir))
		}
		k.dirs[dir] = kept
	}
	return kept
}
