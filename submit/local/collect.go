package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/metricfiles"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/sparse"
)

// MaxOutputs is how many bytes of a run's outputs and logs are kept, where a submission
// says nothing else.
const MaxOutputs = 100e9

// maxFiles is how many files of a run's outputs and logs are kept. Whoever looks at the
// run reads the list of them.
const maxFiles = 1_000_000

// collect moves what the command left in its special folders to the run's artifacts,
// and reads its metrics. It never fails as a whole: what could not be kept is named in
// the warnings, and is an error where the run lost a file by it.
func (t *Target) collect(ctx context.Context, p *plan, run *history.Run) (warnings []string, lost error) {
	if p.Sweep != nil { // its trials have written what there is
		if err := t.logInputs(ctx, p, run); err != nil {
			warnings = append(warnings, fmt.Sprintf("the inputs could not be recorded as parameters: %v", err))
		}
		return warnings, nil
	}
	c := collector{files: t.Store.Files, room: p.mostOutputs(), limit: p.mostOutputs(), most: maxFiles,
		tries: map[string]int{}}
	base, err := t.openBase(p.Run, false)
	if err == nil {
		defer base.Close()
		if work, werr := base.OpenRoot(p.within()); werr == nil { // it may delete its own folder
			for _, name := range []string{"outputs", "logs"} {
				c.take(work, name, p.Artifacts)
			}
			work.Close()
		} else if !errors.Is(werr, fs.ErrNotExist) {
			c.warn("outputs could not be kept: %v", werr)
		}
		if len(p.Outputs) > 0 {
			c.take(base, namedDir, p.Artifacts)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		c.warn("outputs could not be kept: %v", err)
	}
	if err := t.logInputs(ctx, p, run); err != nil {
		c.warn("the inputs could not be recorded as parameters: %v", err)
	}
	if base != nil {
		rest, err := p.leftovers(base)
		if err != nil {
			c.warn("what was written outside ./outputs and ./logs could not be looked for: %v", err)
		}
		if err := t.logMetrics(ctx, run, p, base, rest, &c); err != nil {
			c.warn("the metrics that stand in files could not be logged: %v", err)
		}
		t.save(p, base, &c, rest)
	}
	return c.warnings, c.lost()
}

// logInputs records the job's inputs as parameters of the run. It does so at the end, and
// leaves out what the script has recorded itself: MLflow refuses a client the second value
// of a parameter, and the script would fail.
func (t *Target) logInputs(ctx context.Context, p *plan, run *history.Run) error {
	now, err := t.Store.Run(ctx, run.Info.RunID)
	if err != nil {
		return err
	}
	for _, known := range now.Data.Params {
		delete(p.Params, known.Key)
	}
	var params []history.KeyValue
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		params = append(params, history.KeyValue{Key: name, Value: p.Params[name]})
	}
	for some := range slices.Chunk(params, 100) { // the most of a batch
		err = errors.Join(err, t.Store.LogBatch(ctx, run.Info.RunID, nil, some, nil))
	}
	return err
}

// logMetrics logs what the run left of metrics in files, as far as the script has not
// logged metrics of the same names itself.
func (t *Target) logMetrics(ctx context.Context, run *history.Run, p *plan, base *os.Root, rest []leftover,
	c *collector) error {
	var files []metricfiles.File
	for _, l := range rest {
		files = append(files, metricfiles.File{Path: l.path, FS: base.FS(), Name: l.at})
	}
	kept, err := t.Store.Artifacts(ctx, run)
	for _, f := range kept {
		files = append(files, metricfiles.File{Path: f.Path, FS: t.Store.Files.FS(),
			Name: path.Join(p.Artifacts, f.Path)})
	}
	if known, _, err := recorded(base); err == nil { // a pipeline's description is the person's
		for name := range known {
			rel, err := filepath.Rel(p.within(), path.Join(workDir, name))
			if err == nil && path.Base(name) == "dvc.yaml" {
				files = append(files, metricfiles.File{Path: filepath.ToSlash(rel), FS: base.FS(),
					Name: path.Join(workDir, name)})
			}
		}
	}
	now, rerr := t.Store.Run(ctx, run.Info.RunID)
	if err = errors.Join(err, rerr); err != nil {
		return err
	}
	logged := map[string]bool{}
	for _, m := range now.Data.Metrics {
		logged[m.Key] = true
	}
	values, warnings := metricfiles.Read(files, func(name string) bool { return logged[name] }, history.MetricName)
	c.warnings = append(c.warnings, warnings...)
	metrics := make([]history.Metric, len(values))
	for i, v := range values {
		metrics[i] = history.Metric{Key: v.Name, Value: history.Float(v.Value), Step: history.Int(v.Step),
			Timestamp: history.Int(v.Time)}
	}
	return t.Store.LogMetrics(ctx, run.Info.RunID, metrics)
}

// within is where the command works, relative to the run's base, slash-separated.
func (p *plan) within() string {
	rel, err := filepath.Rel(p.Base, p.Work)
	if err != nil || !filepath.IsLocal(rel) {
		return workDir
	}
	return filepath.ToSlash(rel)
}

// mostOutputs is how many bytes of outputs and logs are kept.
func (p *plan) mostOutputs() int64 {
	switch {
	case p.MaxOutputs == 0:
		return MaxOutputs
	case p.MaxOutputs < 0:
		return math.MaxInt64
	}
	return p.MaxOutputs
}

// collector moves folders to the artifacts of a run.
type collector struct {
	files       *os.Root // the history's folder
	room, limit int64    // bytes that may still be kept, and in all
	most        int      // files that may still be kept
	warnings    []string

	from     *os.Root // the folder that is moved
	to       string   // where it goes, below files
	name     string   // for people
	looking  bool     // nothing moves yet
	plain    bool     // it can move as it is
	kept     int64    // bytes
	count    int      // files
	odd      []string // what is no file
	renamed  []string
	failed   []string
	tooLarge []string
	tooMany  int
	errors   int
	tries    map[string]int // how often a name was looked for that nothing has yet
}

func (c *collector) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// take moves a folder that lies in another one.
func (c *collector) take(in *os.Root, name, to string) {
	from, err := home.Folder(in, name, false)
	var odd *home.UntrustedError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case errors.As(err, &odd):
		c.warn("%s could not be kept: %s is no folder", name, name)
		return
	case errors.Is(err, fs.ErrPermission) && in.Chmod(name, 0o700) == nil:
		from, err = home.Folder(in, name, false)
	}
	if err != nil {
		c.fail(name, err)
		return
	}
	defer from.Close()
	c.from, c.to, c.name = from, path.Join(to, name), name
	c.plain, c.kept, c.count, c.odd, c.renamed = true, 0, 0, nil, nil
	c.looking = true
	c.walk(".", c.look)
	c.looking = false
	if _, err := c.files.Lstat(c.to); c.plain && errors.Is(err, fs.ErrNotExist) && c.kept <= c.room &&
		c.count <= c.most {
		if c.files.MkdirAll(path.Dir(c.to), 0o755) == nil && rename(in, name, c.files, c.to) == nil {
			c.room, c.most = c.room-c.kept, c.most-c.count
			return
		}
	}
	c.walk(".", c.keep)
	if len(c.odd) > 0 {
		c.warn("%s: not kept, because only files are: %s", name, some(c.odd))
	}
	if len(c.renamed) > 0 {
		c.warn("%s: kept under another name, because not every system has such names: %s", name, some(c.renamed))
	}
}

// walk calls do for everything that is no folder.
func (c *collector) walk(dir string, do func(name string, info fs.FileInfo)) {
	if c.tooLong(dir) {
		c.fail(clip2(path.Join(c.name, dir)), errTooLong)
		return
	}
	if info, err := c.from.Lstat(dir); err == nil && info.Mode().Perm()&0o700 != 0o700 {
		c.from.Chmod(dir, info.Mode().Perm()|0o700) // a folder that the script made unreadable is still its owner's
	}
	entries, err := fs.ReadDir(c.from.FS(), dir)
	if err != nil {
		c.fail(path.Join(c.name, dir), err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			c.walk(name, do)
			continue
		}
		info, err := c.from.Lstat(name)
		if err != nil {
			c.fail(path.Join(c.name, name), err)
			continue
		}
		do(name, info)
	}
}

// look finds out whether the folder can move as it is.
func (c *collector) look(name string, info fs.FileInfo) {
	c.kept, c.count = c.kept+info.Size(), c.count+1
	if !info.Mode().IsRegular() || portable(name) != name || c.tooLong(name) {
		c.plain = false
	}
}

// keep moves one file.
func (c *collector) keep(name string, info fs.FileInfo) { c.keepAs(name, name, info) }

// keepAs moves one file to another place than that which it has.
func (c *collector) keepAs(name, as string, info fs.FileInfo) {
	shown := path.Join(c.name, as)
	if info.Mode()&fs.ModeSymlink != 0 {
		// A link is kept as the file that it leads to; what lies elsewhere was not put
		// here to be kept.
		target, err := c.from.Stat(name)
		if err != nil || !target.Mode().IsRegular() {
			c.odd = append(c.odd, name)
			return
		}
		info = target
		defer c.from.Remove(name)
	} else if !info.Mode().IsRegular() {
		c.odd = append(c.odd, name)
		return
	}
	if c.most == 0 {
		c.tooMany++
		return
	}
	if info.Size() > c.room {
		c.tooLarge = append(c.tooLarge, fmt.Sprintf("%s (%s)", shown, size.Format(info.Size())))
		return
	}
	to := portable(as)
	if c.tooLong(to) {
		c.fail(clip2(shown), errTooLong)
		return
	}
	if to != as {
		to = c.free(to)
		c.renamed = append(c.renamed, fmt.Sprintf("%q as %s", shown, path.Join(c.name, to)))
	}
	if err := c.move(name, path.Join(c.to, to), info); err != nil {
		c.fail(shown, err)
		return
	}
	c.room, c.most = c.room-info.Size(), c.most-1
}

// move brings a file to the artifacts, by renaming it where it can.
func (c *collector) move(name, to string, info fs.FileInfo) error {
	if err := c.files.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	if link, err := c.from.Lstat(name); err == nil && link.Mode().IsRegular() &&
		rename(c.from, name, c.files, to) == nil {
		return nil
	}
	if info.Mode().Perm()&0o400 == 0 {
		c.from.Chmod(name, 0o600)
	}
	r, err := c.from.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	c.files.Remove(to)
	w, err := c.files.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = sparse.Copy(w, r)
	return errors.Join(err, w.Close())
}

// fail notes that a file is lost. All of them count, some are named.
func (c *collector) fail(name string, err error) {
	if c.looking {
		c.plain = false
		return
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if c.errors++; len(c.failed) < 10 {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", name, err))
	}
}

// lost is the error of a run that lost files, nil where it did not.
func (c *collector) lost() error {
	var all error
	if n := len(c.tooLarge); n > 0 {
		all = fmt.Errorf("its outputs and logs are more than the %s that are kept (--max-outputs-size moves that); "+
			"not kept: %s", size.Limit(c.limit), some(c.tooLarge))
	}
	if c.tooMany > 0 {
		all = errors.Join(all,
			fmt.Errorf("its outputs and logs are more than %d files, the most that are kept; %d are not: put them "+
				"into an archive", maxFiles, c.tooMany))
	}
	if c.errors > 0 {
		more := ""
		if n := c.errors - len(c.failed); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		all = errors.Join(all, fmt.Errorf("not everything that it wrote could be kept: %s%s",
			strings.Join(c.failed, "; "), more))
	}
	return all
}

// some names the first of many.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), 10)], ", ")
	if more := len(names) - 10; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

var errTooLong = errors.New("its path is too long")

// maxPath is the longest path that other programs can open (Linux: PATH_MAX).
const maxPath = 4096

func (c *collector) tooLong(name string) bool {
	return len(c.files.Name())+len(c.to)+len(name)+2 >= maxPath
}

// clip2 shortens a long path for people.
func clip2(name string) string {
	if len(name) > 200 {
		return strings.ToValidUTF8(name[:100], "") + "..." + strings.ToValidUTF8(name[len(name)-90:], "")
	}
	return name
}

// portable is the path with what not every system, and no URL and no terminal, takes in
// a name replaced: control characters, backslashes, what is no UTF-8.
func portable(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '\\' || r == unicode.ReplacementChar || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
}

// free returns a name that nothing has yet, in the folder that is moved or where it
// goes.
func (c *collector) free(name string) string {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for try := name; ; try = fmt.Sprintf("%s-%d%s", stem, c.tries[name], ext) {
		c.tries[name]++
		_, here := c.from.Lstat(try)
		_, there := c.files.Lstat(path.Join(c.to, try))
		if errors.Is(here, fs.ErrNotExist) && errors.Is(there, fs.ErrNotExist) {
			return try
		}
	}
}
