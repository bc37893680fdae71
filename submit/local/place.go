package local

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/org/aml-train/history"
)

// The files that a run works on lie where no walk upwards meets the repository: what
// looks for the nearest .git, .env or pyproject.toml, as git, dotenv and many tools do,
// would else find the ones of the working tree, and read or write them.

// plainPath is a path that a shell takes as it is, so that it can be put into a
// command line unquoted, as Azure ML does with the paths of its inputs.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./:\\@%+=,-]+$`)

// homeFile, in a place, names the history that the copies there belong to.
const homeFile = "home"

// place is the folder that holds the copies of a history's runs: that of the history,
// where AML_TRAIN_HOME leads out of every repository, else one in the person's cache
// folder. In a container it is a temporary one, which goes with the container.
func (t *Target) place() string {
	t.placed.Do(func() { t.at = placeOf(t.Store.Home) })
	return t.at
}

func placeOf(home string) string {
	if filepath.Base(home) != usualHome && plainPath.MatchString(home) && !inRepository(home) {
		return home
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(home)))[:16]
	cache, err := os.UserCacheDir()
	if err == nil && plainPath.MatchString(cache) && ownContainer() == "" && !inRepository(cache) {
		return filepath.Join(cache, "aml-train", name)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("aml-train-%d", os.Getuid()), name)
}

// usualHome is the history's folder in a repository.
const usualHome = ".aml-train"

// inRepository tells whether a walk upwards from dir meets a repository.
func inRepository(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// makePlace makes the folder for copies, for nobody else's eyes.
func (t *Target) makePlace() (runs string, err error) {
	place := t.place()
	runs = filepath.Join(place, "runs")
	if place == t.Store.Home {
		return runs, os.MkdirAll(runs, 0o755)
	}
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return "", err
	}
	for _, dir := range []string{filepath.Dir(place), place} { // in a temporary folder somebody else may have been first
		info, err := os.Lstat(dir)
		if err != nil {
			return "", err
		}
		if !info.IsDir() || !mine(info) {
			return "", fmt.Errorf("%s is no folder of this user's; remove it, or set AML_TRAIN_HOME to a folder outside the repository", dir)
		}
	}
	return runs, named(place, t.Store.Home)
}

// named writes down whose copies lie in a place, in one step: who reads half a name would
// find no history of that name.
func named(place, home string) error {
	name := filepath.Join(place, homeFile)
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	next, err := os.CreateTemp(place, ".home-*")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	_, err = next.WriteString(home)
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), name)
}

// base is the folder with the files of a run.
func (t *Target) base(run string) string { return filepath.Join(t.place(), "runs", run) }

// top is where in a run's copy the root of its repository would lie.
func (t *Target) top(run string) string { return filepath.Join(t.base(run), workDir) }

// WorkingDirectory is where the command of a run works, while it does: the source
// directory in the run's copy.
func (t *Target) WorkingDirectory(run *history.Run) string {
	source := filepath.FromSlash(run.Tag(history.TagSource))
	if !filepath.IsLocal(source) {
		source = "."
	}
	return filepath.Join(t.top(run.Info.RunID), source)
}

// sweepPlaces removes the copies of histories that are gone, and what a killed Submit
// left of a copy.
func (t *Target) sweepPlaces() {
	left, _ := filepath.Glob(filepath.Join(t.place(), "runs", staging+"*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
			removeAll(dir)
		}
	}
	if t.place() == t.Store.Home {
		return
	}
	homes, _ := filepath.Glob(filepath.Join(filepath.Dir(t.place()), "*", homeFile))
	for _, name := range homes {
		home, err := os.ReadFile(name)
		if err != nil || !filepath.IsAbs(string(home)) {
			continue
		}
		if _, err := os.Stat(string(home)); errors.Is(err, fs.ErrNotExist) {
			removeAll(filepath.Dir(name))
		}
	}
}
