package local

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	format "github.com/go-git/go-git/v5/plumbing/format/config"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/index"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/submit"
)

// A run's copy is a git repository of its own. Whatever asks git for the commit,
// the tags or what differs gets the answers of the repository that the code comes from,
// and whatever writes, a reset, a commit, a tag, a changed setting, writes to the copy.
// Objects alone are the repository's: git reads them through objects/info/alternates
// (gitrepository-layout(5)) and never writes there.

// Limits of what is read of a repository, in bytes.
const (
	maxPackedRefs = 64 << 20 // some 500,000 references
	maxGitFile    = 4 << 20
)

// copyRepository is a repository on its way into a run's copy.
type copyRepository struct {
	from    *git.Repository
	objects *object.Store
	refs    map[string]string // name -> id, as hex
	head    string            // the text of HEAD
	commit  plumbing.Hash     // that HEAD leads to, zero before the first one
	in      string            // where the source directory lies, "." at the root
	top     string            // of the copy
}

// writeRepository makes the copy whose root is top a repository at the commit that
// trains. in is where the source directory lies in it, slash-separated, and list the
// files that are there. Code that is in no repository gets none.
func writeRepository(top, in string, s submit.Submission, list []copied) error {
	from := s.Repository
	if from == nil {
		return nil
	}
	c := &copyRepository{from: from, in: in, top: top, objects: from.Objects()}
	defer c.objects.Close()
	if err := c.readRefs(); err != nil {
		return err
	}
	if err := c.findHead(s); err != nil {
		return err
	}
	entries, err := c.entries(s, list)
	if err != nil {
		return err
	}
	return c.write(entries)
}

// readRefs reads the references of the repository: the packed ones, and those in a file
// of their own, which win. Those of operations that are under way stay where they are.
func (c *copyRepository) readRefs() error {
	c.refs = map[string]string{}
	add := func(name, id string) {
		if plumbing.IsHash(id) && strings.HasPrefix(name, "refs/") && name != "refs/stash" &&
			!strings.HasPrefix(name, "refs/bisect/") && !strings.HasPrefix(name, "refs/rewritten/") &&
			!strings.HasPrefix(name, "refs/worktree/") {
			c.refs[name] = id
		}
	}
	packed, err := limited.Read(filepath.Join(c.from.CommonDir, "packed-refs"), maxPackedRefs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.SplitSeq(string(packed), "\n") {
		if id, name, ok := strings.Cut(line, " "); ok {
			add(name, id)
		}
	}
	root := filepath.Join(c.from.CommonDir, "refs")
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, _ := filepath.Rel(c.from.CommonDir, name)
		if text, err := limited.Read(name, maxGitFile); err == nil { // else it was deleted meanwhile
			add(filepath.ToSlash(rel), strings.TrimSpace(string(text)))
		}
		return nil
	})
}

// findHead takes over what is checked out; of a commit that was named, its branch where
// that is where the branch stands.
func (c *copyRepository) findHead(s submit.Submission) error {
	if s.Commit != nil {
		c.commit = plumbing.NewHash(s.Snapshot.Commit)
		c.head = s.Snapshot.Commit
		if branch := "refs/heads/" + s.Git.Branch; s.Git.Branch != "" && c.refs[branch] == c.head {
			c.head = "ref: " + branch
		}
		return nil
	}
	text, err := limited.Read(filepath.Join(c.from.GitDir, "HEAD"), maxGitFile)
	if err != nil {
		return err
	}
	c.head = strings.TrimSpace(string(text))
	id := c.head
	if name, ok := strings.CutPrefix(c.head, "ref:"); ok {
		id = c.refs[strings.TrimSpace(name)]
	}
	c.commit = plumbing.NewHash(id) // zero for what is none
	return nil
}

// entries returns the index of the copy: what the repository's own says of the source
// directory, and of everything else what the commit has. Files that did not travel are
// marked as ones that need not be there, as in a sparse checkout; one that was deleted
// is missing in the copy too.
func (c *copyRepository) entries(s submit.Submission, list []copied) ([]index.Entry, error) {
	prefix := ""
	if c.in != "." {
		prefix = c.in + "/"
	}
	var entries []index.Entry
	if s.Commit != nil {
		if err := c.ofCommit("", &entries); err != nil {
			return nil, err
		}
	} else {
		x, err := c.from.Index(c.objects)
		if err != nil {
			return nil, err
		}
		lo, hi := x.Range(prefix)
		if prefix != "" && c.ofCommit(prefix, &entries) != nil {
			entries, lo, hi = nil, 0, x.Len() // a partial clone: the trees are not here
		}
		for i := lo; i < hi; i++ {
			entries = append(entries, x.Entry(i))
		}
		if prefix != "" {
			slices.SortFunc(entries, func(a, b index.Entry) int {
				return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Stage, b.Stage))
			})
		}
	}
	c.fillIn(entries, prefix, list, s.Commit != nil)
	return entries, nil
}

// ofCommit appends the files of the commit, but for those below skip.
func (c *copyRepository) ofCommit(skip string, to *[]index.Entry) error {
	if c.commit.IsZero() {
		return nil
	}
	tree, _, err := c.objects.CommitTree(c.commit)
	if err != nil {
		return err
	}
	return c.objects.Walk(tree, new(object.Budget), func(path string, e object.Entry) bool {
		if e.Mode != filemode.Dir {
			*to = append(*to, index.Entry{Name: path, Mode: e.Mode, ID: e.ID})
		}
		return path+"/" != skip
	})
}

// fillIn fills in what is true of the files in the copy. Both lists are sorted by path.
func (c *copyRepository) fillIn(entries []index.Entry, prefix string, list []copied, ofCommit bool) {
	user, group := uint32(os.Geteuid()), uint32(os.Getegid())
	next := 0
	for i := range entries {
		e := &entries[i]
		rel, below := strings.CutPrefix(e.Name, prefix)
		if !below {
			e.SkipWorktree, e.Stage = true, 0
			continue
		}
		for next < len(list) && list[next].Path < rel {
			next++
		}
		if next < len(list) && list[next].Path == rel {
			e.SkipWorktree = false
			if f := &list[next]; f.OID == e.ID && filemode.FileMode(f.Mode) == e.Mode {
				e.Stat, e.User, e.Group = f.Stat, user, group
			}
			continue
		}
		there := func(root string) bool {
			_, err := os.Lstat(filepath.Join(root, filepath.FromSlash(e.Name)))
			return err == nil
		}
		switch {
		case e.SkipWorktree:
		case e.Mode == filemode.Submodule: // whose files travel as a folder's; to git, one that is not checked out
			e.SkipWorktree = !there(c.top)
		default:
			e.SkipWorktree = ofCommit || there(c.from.Root)
		}
	}
}

// write writes the repository.
func (c *copyRepository) write(entries []index.Entry) error {
	git := filepath.Join(c.top, ".git")
	for _, dir := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags", "info"} {
		if err := os.MkdirAll(filepath.Join(git, filepath.FromSlash(dir)), 0o755); err != nil {
			return err
		}
	}
	// Without the line that git writes first: it promises what tags lead to. git and
	// others do without.
	var refs bytes.Buffer
	names := make([]string, 0, len(c.refs))
	for name := range c.refs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		refs.WriteString(c.refs[name] + " " + name + "\n")
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	var objects bytes.Buffer // all of them: git follows no more than five in a row
	for _, folder := range c.objects.Folders() {
		if folder = filepath.ToSlash(folder); strings.ContainsAny(folder, "\n\"") {
			folder = strconv.Quote(folder)
		}
		objects.WriteString(folder + "\n")
	}
	files := map[string][]byte{
		"HEAD": []byte(c.head + "\n"), "config": config, "packed-refs": refs.Bytes(),
		"objects/info/alternates": objects.Bytes(),
	}
	for _, name := range []string{"info/exclude", "info/attributes", "shallow"} {
		if text, err := limited.Read(filepath.Join(c.from.CommonDir, filepath.FromSlash(name)),
			maxGitFile); err == nil {
			files[name] = text
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(git, filepath.FromSlash(name)), text, 0o644); err != nil {
			return err
		}
	}
	// Last, so that it is newer than the files whose stat data it has.
	return os.WriteFile(filepath.Join(git, "index"), index.Append(nil, entries), 0o644)
}

// ofWorktree are the settings that say how files are to be compared with the index.
var ofWorktree = []string{"filemode", "symlinks", "ignorecase", "precomposeunicode", "protectntfs", "protecthfs",
	"autocrlf", "eol", "safecrlf", "trustctime", "longpaths", "quotepath"}

// config is the configuration of the copy: of the repository's own, what decides over
// files, who commits, and where it comes from. There is no hook, no include and no
// credential in it, and nothing is pushed from a run.
func (c *copyRepository) config() ([]byte, error) {
	to := format.New()
	core := to.Section("core")
	for key, value := range map[string]string{"repositoryformatversion": "0", "bare": "false",
		"logallrefupdates": "true", "fsmonitor": "false", "hooksPath": os.DevNull} {
		core.SetOption(key, value)
	}
	file := "file:" + filepath.Join(c.from.CommonDir, "config")
	for _, e := range c.from.Config.Entries() {
		section, rest, _ := strings.Cut(e.Key, ".")
		name := rest[strings.LastIndexByte(rest, '.')+1:]
		subsection := strings.TrimSuffix(rest[:len(rest)-len(name)], ".")
		switch {
		case e.Origin != file:
		case section == "core" && slices.Contains(ofWorktree, rest):
			core.SetOption(name, valueOf(e))
		case rest == "name" && section == "user", rest == "email" && section == "user":
			to.Section("user").SetOption(name, e.Value)
		case section == "filter" && subsection != "":
			to.Section("filter").Subsection(subsection).SetOption(name, valueOf(e))
		case section == "remote" && subsection != "" && name == "url":
			if url := gitmeta.StripCredentials(e.Value); isRemote(url) &&
				!to.Section("remote").HasSubsection(subsection) {
				r := to.Section("remote").Subsection(subsection)
				r.SetOption("url", url)
				r.SetOption("fetch", "+refs/heads/*:refs/remotes/"+subsection+"/*")
				r.SetOption("pushurl", "a-run-pushes-nothing")
			}
		}
	}
	var b bytes.Buffer
	err := format.NewEncoder(&b).Encode(to)
	return b.Bytes(), err
}

// valueOf is the value of an entry; a name without one is true.
func valueOf(e git.Entry) string {
	if !e.HasValue {
		return "true"
	}
	return e.Value
}

// isRemote tells whether a URL leads to another machine by a way that runs no program
// of its choice.
func isRemote(url string) bool {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		host, _, scp := strings.Cut(url, ":")
		return scp && !strings.Contains(url, "::") && strings.Contains(host, "@") && !strings.ContainsAny(host, `/\`)
	}
	return rest != "" && slices.Contains([]string{"https", "http", "ssh", "git"}, scheme)
}

// ofRepository are the variables that bind git to one repository, as git rev-parse
// --local-env-vars lists them, but for those that only configure it. A hook has them.
var ofRepository = []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_NAMESPACE",
	"GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_INTERNAL_SUPER_PREFIX",
	"GIT_QUARANTINE_PATH"}

func belongsToRepository(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains(ofRepository, name)
}

// fence keeps git from looking for a repository above a run's folder.
func fence(env map[string]string, base string) {
	const ceiling = "GIT_CEILING_DIRECTORIES"
	env[ceiling] = strings.TrimSuffix(base+string(os.PathListSeparator)+env[ceiling], string(os.PathListSeparator))
}
