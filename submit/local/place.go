package local

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// The files that a run works on lie where no walk upwards meets the repository: what
// looks for the nearest .git, .env or pyproject.toml, as git, dotenv and many tools do,
// would else find the ones of the working tree, and read or write them.

// plainPath is a path that a shell takes as it is, so that it can be put into a
// command line unquoted, as Azure ML does with the paths of its inputs.
var plainPath = lazyregexp.New(`^[A-Za-z0-9_./:\\@%+=,-]+$`)

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
	return filepath.Join(cacheDir(), fmt.Sprintf("%x", sha256.Sum256([]byte(home)))[:16])
}

// cacheDir is this program's folder in the person's cache folder, in a container a
// temporary one.
func cacheDir() string {
	cache, err := home.Cache()
	if err == nil && plainPath.MatchString(cache) && ownContainer() == "" && !inRepository(filepath.Dir(cache)) {
		return cache
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("aml-train-%d", os.Getuid()))
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

// copies opens the folder of the copies, and makes it, for nobody else's eyes, if create
// is set. In a temporary folder somebody else may have been first.
func (t *Target) copies(create bool) (*os.Root, error) {
	place := t.place()
	if place == t.Store.Home {
		return t.runs(create)
	}
	around, err := home.Private(filepath.Dir(place), create)
	if err != nil {
		return nil, err
	}
	around.Close()
	at, err := home.Private(place, create)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	if create {
		if err := named(at.Root, t.Store.Home); err != nil {
			return nil, err
		}
	}
	return home.Folder(at.Root, runsDir, create)
}

// named writes down whose copies lie in a place, in one step: who reads half a name would
// find no history of that name.
func named(place *os.Root, home string) error {
	if _, err := place.Lstat(homeFile); err == nil {
		return nil
	}
	next := ".home-" + rand.Text()
	if err := place.WriteFile(next, []byte(home), 0o600); err != nil {
		return err
	}
	return place.Rename(next, homeFile)
}

// base is the folder with the files of a run.
func (t *Target) base(run string) string { return filepath.Join(t.place(), runsDir, run) }

// openBase opens it, and makes it if create is set.
func (t *Target) openBase(run string, create bool) (*os.Root, error) {
	if !history.ValidID(run) {
		return nil, fmt.Errorf("%q is no id of a run", run)
	}
	copies, err := t.copies(create)
	if err != nil {
		return nil, err
	}
	defer copies.Close()
	return home.Folder(copies, run, create)
}

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

// abandoned is after how long a staged copy is taken for one whose Submit was killed.
const abandoned = time.Hour

// sweepPlaces removes the copies of histories that are gone, and what a killed Submit
// left of a copy.
func (t *Target) sweepPlaces() {
	if copies, err := t.copies(false); err == nil {
		left, _ := fs.Glob(copies.FS(), staging+"*")
		for _, name := range left {
			if info, err := copies.Lstat(name); err == nil && time.Since(info.ModTime()) > abandoned {
				removeAll(copies, name)
			}
		}
		copies.Close()
	}
	if t.place() == t.Store.Home {
		return
	}
	places, err := home.Private(filepath.Dir(t.place()), false)
	if err != nil {
		return
	}
	defer places.Close()
	entries, _ := fs.ReadDir(places.FS(), ".")
	for _, e := range entries {
		home, err := limited.ReadBelow(places.Root, path.Join(e.Name(), homeFile), limited.Config)
		if err != nil || !e.IsDir() || !filepath.IsAbs(string(home)) {
			continue
		}
		if _, err := os.Stat(string(home)); errors.Is(err, fs.ErrNotExist) {
			removeAll(places.Root, e.Name())
		}
	}
}
