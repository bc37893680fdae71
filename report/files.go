package report

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

func (c *Context) why(name string) string {
	if c.Why == nil || !fs.ValidPath(strings.TrimSuffix(name, "/")) || name == "." {
		return ""
	}
	return c.Why(name)
}

// at is where a path of the source directory lies in the repository.
func (c *Context) at(name string) string { return path.Join(c.Repo.Source, name) }

// exists tells whether the source directory holds a path.
func (c *Context) exists(name string) bool {
	if c.Repo == nil {
		return false
	}
	_, err := fs.Stat(c.Repo.FS, c.at(name))
	return err == nil
}

// missingFile says what brings a file that could not be opened.
func (d *Diagnosis) missingFile(name string, c Context) {
	rel := name
	if c.Work != "" {
		rel = strings.TrimPrefix(rel, strings.TrimSuffix(c.Work, "/")+"/")
	}
	rel = path.Clean(strings.ReplaceAll(rel, "\\", "/"))
	says := fmt.Sprintf("%sopens `%s`, ", d.place(), rel)
	why := c.why(rel)
	switch {
	case path.IsAbs(rel):
		d.Advice = says + "a path of one machine. Make it an input (`inputs:` in the job file) and take " +
			"its place from the command line."
	case strings.HasPrefix(rel, "../"):
		d.Advice = says + "which lies outside the source directory; only what is inside travels. Make " +
			"the source directory wider, or make the file an input."
	case c.fetch(rel) != "":
		d.Advice = says + c.fetch(rel)
	case path.Base(rel) == ".env" && why != "":
		d.Advice = says + fmt.Sprintf("which did not travel, because of %s. Pass on what it holds: "+
			"`--env NAME`.", why)
	case why != "" && c.exists(rel):
		d.Advice = says + fmt.Sprintf("which did not travel, because of %s. Track it in git, take it out "+
			"of the ignore file, or make it an input: %s", why, inputBlock(rel))
	case strings.HasPrefix(rel, "outputs/") || strings.HasPrefix(rel, "logs/"):
		d.Advice = fmt.Sprintf("%sopens `%s`; the folder is there once the script has made it: "+
			"`os.makedirs(\"%s\", exist_ok=True)`.", d.place(), rel, path.Dir(rel))
	case why != "":
		d.Advice = says + fmt.Sprintf("which no snapshot has, because of %s. Make it an "+
			"input: %s", why, inputBlock(rel))
	case c.above(rel) != "":
		wide := c.above(rel)
		there := imports.Relative(c.Repo.Source, path.Join(wide, rel))
		d.Advice = says + fmt.Sprintf("which lies in `%s`, outside the source directory: widen `code` "+
			"(`--source-directory`) to %s, so that it travels and the script starts there, or make it an input: %s",
			there, folderName(wide), inputBlock(there))
	default:
		d.Advice = says + "which is not in the source directory."
	}
}

// above is the nearest folder above the source directory from which a path leads to a file of the
// repository, "" where there is none.
func (c *Context) above(rel string) string {
	if c.Repo == nil || !fs.ValidPath(rel) {
		return ""
	}
	for wide := path.Clean(c.Repo.Source); wide != "."; {
		wide = path.Dir(wide)
		if _, err := fs.Stat(c.Repo.FS, path.Join(wide, rel)); err == nil {
			return wide
		}
	}
	return ""
}

// folderName is a folder of the repository in words.
func folderName(dir string) string {
	if dir == "." {
		return "the repository's root"
	}
	return "the folder `" + dir + "`"
}

var noName = lazyregexp.New(`\W+`)

// inputBlock is what a job file says to make a file, or the folder that it lies in, an
// input.
func inputBlock(rel string) string {
	kind, at := "uri_file", rel
	if dir := path.Dir(rel); dir != "." {
		kind, at = "uri_folder", dir
	}
	base := path.Base(at)
	name := strings.Trim(noName.ReplaceAllString(strings.TrimSuffix(base, path.Ext(base)), "_"), "_")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "data" + name
	}
	return fmt.Sprintf("`inputs: {%s: {type: %s, path: %s}}` in the job file, and `${{inputs.%s}}` in "+
		"its command.", name, kind, at, name)
}

// fetch says what brings a file of the source directory that the repository knows and
// that lies elsewhere, "" where nothing of that kind is known.
func (c *Context) fetch(rel string) string {
	if c.Repo == nil || !fs.ValidPath(rel) {
		return ""
	}
	bring := func(command string) string {
		return fmt.Sprintf("which is not here: `%s` brings it; or make it an input: %s", command, inputBlock(rel))
	}
	modules, _ := limited.ReadFS(c.Repo.FS, ".gitmodules", limited.Config)
	for p := rel; p != "."; p = path.Dir(p) {
		info, err := fs.Lstat(c.Repo.FS, c.at(p))
		_, found := fs.Stat(c.Repo.FS, c.at(p))
		tracked, _ := fs.Stat(c.Repo.FS, c.at(p+".dvc"))
		switch {
		case err == nil && info.Mode()&fs.ModeSymlink != 0 && found != nil:
			to, _ := fs.ReadLink(c.Repo.FS, c.at(p))
			if strings.Contains(to, "annex/objects/") {
				return bring("git annex get " + quoted(rel))
			}
			if tracked == nil && !strings.Contains(to, ".dvc/") {
				return fmt.Sprintf("a link to `%s`, which is not there.", to)
			}
			return bring("dvc pull " + quoted(rel))
		case tracked != nil && err != nil:
			return bring("dvc pull " + quoted(p+".dvc"))
		case err == nil && info.IsDir() && submodule(modules, c.at(p)):
			if entries, err := fs.ReadDir(c.Repo.FS, c.at(p)); err == nil && len(entries) == 0 {
				return bring("git submodule update --init " + quoted(p))
			}
		}
	}
	if c.exists(rel) {
		return c.pointer(rel)
	}
	lock, err := limited.ReadFS(c.Repo.FS, c.at("dvc.lock"), limited.Config)
	for p := rel; err == nil && p != "."; p = path.Dir(p) {
		if regexp.MustCompile(`(?m)^\s*(- )?path: ` + regexp.QuoteMeta(p) + `$`).Match(lock) {
			return bring("dvc pull " + quoted(p))
		}
	}
	return ""
}

// pointer says what brings the content for which a file stands.
func (c *Context) pointer(rel string) string {
	info, err := fs.Stat(c.Repo.FS, c.at(rel))
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1024 {
		return ""
	}
	text, err := limited.ReadFS(c.Repo.FS, c.at(rel), 1024)
	switch {
	case err == nil && bytes.HasPrefix(text, []byte("version https://git-lfs.github.com/spec/")):
		return fmt.Sprintf("which is a pointer of git-lfs and not the file: `git lfs pull --include %s` "+
			"brings it.", quoted(imports.Relative(".", c.at(rel))))
	case err == nil && bytes.HasPrefix(text, []byte("/annex/objects/")):
		return fmt.Sprintf("which is a pointer of git-annex and not the file: `git annex get %s` "+
			"brings it.", quoted(rel))
	}
	return ""
}

func submodule(modules []byte, p string) bool {
	return regexp.MustCompile(`(?m)^\s*path\s*=\s*` + regexp.QuoteMeta(p) + `\s*$`).Match(modules)
}

var plainWord = lazyregexp.New(`^[\w@%+=:,./*-]+$`)

// quoted is a path as a shell takes it.
func quoted(p string) string {
	if plainWord.MatchString(p) {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}

// unrelated are errors that no absent file causes.
var unrelated = []string{"NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "TabError",
	"ImportError", "ModuleNotFoundError", "RecursionError", "NotImplementedError", "KeyboardInterrupt",
	"SystemError", "UnicodeEncodeError", "OverflowError"}

var (
	literal = lazyregexp.New(`"([^"\\\n]{1,200})"|'([^'\\\n]{1,200})'`)
	reading = lazyregexp.New(
		`\b(r?glob|i?glob|Path|open|join|listdir|scandir|walk|iterdir|exists|isfile|isdir|(read|load|from)_?\w*|\w*(Folder|Dataset|Loader)\w*)\s*\(`)
	writing  = lazyregexp.New(`["'][wax][bt+]*["']|\b(to_|save|dump|write|mkdir|makedirs|rmtree|remove)\w*\s*\(`)
	variable = lazyregexp.New(`^'(\w+)'$`)
)

// absent looks for what the code that failed names and the run did not have: what it
// reads that did not travel, or a variable. Code is read as it lies there now.
func (t *traceback) absent(c Context) string {
	kind := t.name()
	if name := t.variable(); name != "" {
		return c.noVariable(name)
	}
	if c.Repo == nil || slices.Contains(unrelated, kind) {
		return ""
	}
	seen := map[string]bool{}
	for i := len(t.frames) - 1; i >= 0; i-- {
		one := traceback{frames: t.frames[i : i+1]}
		f, ok := one.userFrame(c)
		if !ok || seen[f.File] || !fs.ValidPath(f.File) {
			continue
		}
		seen[f.File] = true
		text, err := limited.ReadFS(c.Repo.FS, c.at(f.File), limited.Config)
		if err != nil {
			continue
		}
		if hint := c.named(f.File, string(text)); hint != "" {
			return hint
		}
	}
	return ""
}

// variable is the environment variable that os.environ does not have, "" of other errors.
func (t *traceback) variable() string {
	m := variable.FindStringSubmatch(t.text)
	if m == nil || t.name() != "KeyError" || len(t.frames) == 0 {
		return ""
	}
	last := t.frames[len(t.frames)-1]
	ofOS := last.File == "<frozen os>" || path.Base(strings.ReplaceAll(last.File, "\\", "/")) == "os.py"
	if ofOS || strings.Contains(last.Code, "environ") {
		return m[1]
	}
	return ""
}

func (c *Context) noVariable(name string) string {
	hint := fmt.Sprintf("The run has no environment variable `%s`: pass it on with `--env %s`", name, name)
	if c.Repo == nil {
		return hint + "."
	}
	text, err := limited.ReadFS(c.Repo.FS, c.at(".env"), limited.Config)
	if err == nil && regexp.MustCompile(`(?m)^\s*(export\s+)?`+name+`\s*=`).Match(text) && c.why(".env") != "" {
		hint += ". It stands in `.env`, which did not travel, because of " + c.why(".env")
	}
	return hint + "."
}

// named looks through a file of code for what it reads and the run did not have.
func (c *Context) named(file, text string) string {
	n := 0
	for line := range strings.Lines(text) {
		n++
		code := strings.TrimSpace(line)
		if strings.HasPrefix(code, "#") || writing.MatchString(code) {
			continue
		}
		if strings.Contains(code, "load_dotenv(") && c.exists(".env") && c.why(".env") != "" {
			return fmt.Sprintf("`%s:%d` reads `.env`, which did not travel, because of %s: pass on what "+
				"it holds with `--env NAME`.", file, n, c.why(".env"))
		}
		if !reading.MatchString(code) {
			continue
		}
		for _, m := range literal.FindAllStringSubmatch(code, 20) {
			name := path.Clean(m[1] + m[2])
			first, _, _ := strings.Cut(name, "/")
			if !fs.ValidPath(name) || strings.ContainsAny(name, "{}<>|\x00") ||
				slices.Contains([]string{".", "outputs", "logs"}, first) {
				continue
			}
			if hint := c.didNotTravel(name); hint != "" {
				return fmt.Sprintf("`%s:%d` names `%s`, %s", file, n, name, hint)
			}
		}
	}
	return ""
}

// matches returns the files of the source directory that a pattern of Python's glob
// matches, at any depth where it has **, and the folder, with a slash, that all of them lie
// in; "" is the source directory itself.
func (c *Context) matches(pattern string) (found []string, dir string) {
	dir = pattern[:strings.LastIndexByte(pattern[:strings.IndexAny(pattern, "*?[")], '/')+1]
	if !strings.Contains(pattern, "**") {
		all, _ := fs.Glob(c.Repo.FS, c.at(pattern))
		for _, f := range all {
			found = append(found, imports.Relative(c.Repo.Source, f))
		}
		return found, dir
	}
	left := 20_000
	fs.WalkDir(c.Repo.FS, c.at(dir), func(name string, e fs.DirEntry, err error) error {
		if left--; err != nil || left < 0 {
			return fs.SkipAll
		}
		if matched, _ := path.Match(path.Base(pattern), e.Name()); matched && !e.IsDir() {
			found = append(found, imports.Relative(c.Repo.Source, name))
		}
		return nil
	})
	if left < 0 {
		return nil, "" // what it matches is not known
	}
	return found, dir
}

// didNotTravel says why nothing that a path or a pattern names was there, "" where
// something was, or nothing keeps it away.
func (c *Context) didNotTravel(name string) string {
	if strings.ContainsAny(name, "*?[") {
		found, dir := c.matches(name)
		var why string
		for _, f := range found[:min(len(found), 100)] {
			if why = c.why(f); why == "" {
				return "" // one has travelled
			}
		}
		if len(found) > 100 && c.why(dir+"x") == "" {
			return "" // one that was not looked at may have travelled
		}
		if len(found) > 0 {
			return fmt.Sprintf("and what it matches did not travel, because of %s. Make it an "+
				"input: %s", why, inputBlock(found[0]))
		}
		if why = c.why(dir + "x"); dir != "" && why != "" {
			return fmt.Sprintf("where no snapshot has anything, because of %s. Make it an "+
				"input: %s", why, inputBlock(dir+"x"))
		}
		return ""
	}
	if there := c.fetch(name); there != "" {
		return there
	}
	info, err := fs.Stat(c.Repo.FS, c.at(name))
	if err != nil {
		return ""
	}
	why, inside := c.why(name), name
	if info.IsDir() {
		inside = name + "/x"
		if why == "" {
			why = c.why(name + "/")
		}
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("which did not travel, because of %s. Make it an input: %s", why, inputBlock(inside))
}
