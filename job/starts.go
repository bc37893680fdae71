package job

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/lazyregexp"
)

// start is the file or module that a command starts first.
type start struct {
	name   string
	module bool // of Python, with its dots
}

var (
	// segment parts a command into those that run one after the other.
	segment = lazyregexp.New(`\n|&&|;`)
	// opens is what a shell makes something else of, or sends elsewhere.
	opens = lazyregexp.New("[$*?{}\\[\\]~<>|`#]")
	// assigned is a variable before a command.
	assigned = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*=`)
	// harmless are commands that make no file which a later one starts.
	harmless = map[string]bool{"pip": true, "pip3": true, "conda": true, "export": true, "set": true, "echo": true,
		"mkdir": true, "nvidia-smi": true, "ls": true, "pwd": true, "date": true, "true": true, "ulimit": true}
	// wrappers start the rest of their words.
	wrappers = map[string]int{"exec": 1, "time": 1, "nohup": 1, "env": 1, "uv run": 2, "poetry run": 2, "pipenv run": 2,
		"pdm run": 2, "hatch run": 2, "rye run": 2}
	// launchers start the script among their words, in several processes say.
	launchers = map[string]bool{"torchrun": true, "accelerate": true, "deepspeed": true, "mpirun": true,
		"horovodrun": true, "torch.distributed.run": true, "torch.distributed.launch": true}
	shells   = map[string]bool{"bash": true, "sh": true, "dash": true, "zsh": true, "ksh": true}
	programs = map[string]bool{"Rscript": true, "julia": true, "perl": true, "node": true, "ruby": true, "source": true,
		".": true}
)

// starts returns what a command starts, nil where that cannot be told for certain: where
// a shell decides, where something before it may change the folder or write a file.
func starts(command string) *start {
	for _, part := range segment.Split(strings.ReplaceAll(command, "\\\n", " "), -1) {
		words, err := shellquote.Split(part)
		if err != nil {
			return nil
		}
		words = unwrapped(words)
		if len(words) == 0 {
			continue
		}
		pip := pythonProgram.MatchString(words[0]) && len(words) > 2 && words[1] == "-m" && words[2] == "pip"
		if !harmless[words[0]] && !pip {
			return first(words)
		}
		if strings.ContainsAny(part, "<>|`") {
			return nil
		}
	}
	return nil
}

// unwrapped drops variables and wrappers before a command.
func unwrapped(words []string) []string {
	for len(words) > 0 {
		n := 0
		switch {
		case assigned.MatchString(words[0]):
			n = 1
		case wrappers[words[0]] > 0:
			n = 1
		case len(words) > 1:
			n = wrappers[words[0]+" "+words[1]]
		}
		if n == 0 {
			break
		}
		words = words[n:]
	}
	return words
}

// first returns what the words of a simple command start.
func first(words []string) *start {
	program, rest := words[0], words[1:]
	if path.IsAbs(program) {
		program = path.Base(program)
	}
	switch {
	case pythonProgram.MatchString(program):
		return pythonStarts(rest)
	case shells[program]:
		for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
			if !strings.HasPrefix(rest[0], "--") && strings.ContainsAny(rest[0], "cs") {
				return nil
			}
			n := 1
			if strings.HasSuffix(rest[0], "o") && !strings.HasPrefix(rest[0], "--") {
				n = 2
			}
			rest = rest[min(n, len(rest)):]
		}
		return file(rest)
	case launchers[program]:
		return launched(rest)
	case programs[program]:
		if s := file(rest); program != "source" && program != "." || s != nil && strings.Contains(s.name, "/") {
			return s
		}
		return nil
	case strings.Contains(program, "/"), strings.HasSuffix(program, ".py"):
		return file(words)
	}
	return nil
}

func pythonStarts(words []string) *start {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		switch flag := words[0]; {
		case flag == "-m" && len(words) > 1 && launchers[words[1]]:
			return launched(words[2:])
		case flag == "-m" && len(words) > 1 && moduleName.MatchString(words[1]):
			return &start{words[1], true}
		case (flag == "-X" || flag == "-W") && len(words) > 1:
			words = words[1:]
		case !pythonFlags.MatchString(flag):
			return nil
		}
		words = words[1:]
	}
	return file(words)
}

var (
	pythonFlags = lazyregexp.New(`^-[bBdEiIOPqRsSuvx]+$`)
	moduleName  = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
)

// launched is the script among the words of a launcher.
func launched(words []string) *start {
	for _, w := range words {
		switch {
		case w == "-m" || w == "--module" || opens.MatchString(w):
			return nil
		case strings.HasSuffix(w, ".py") && !strings.HasPrefix(w, "-"):
			return file([]string{w})
		}
	}
	return nil
}

// file is the first word as a file of the source directory.
func file(words []string) *start {
	if len(words) == 0 || words[0] == "" || words[0] == "-" || opens.MatchString(words[0]) ||
		path.IsAbs(words[0]) || filepath.IsAbs(words[0]) || words[0][0] == '-' {
		return nil
	}
	return &start{words[0], false}
}

// missing says that the source directory has not what the command starts, "" where it has
// it, or where it may come from elsewhere.
func (j *Job) missing(s *start) string {
	source := j.SourceDirectory()
	if !s.module {
		if _, err := j.stat(filepath.Join(source, filepath.FromSlash(s.name)), j.codeNamed); err == nil {
			return ""
		}
		return fmt.Sprintf("the script %s does not exist in the source directory %s%s", s.name, j.Code,
			j.similarScript(s.name))
	}
	module := strings.ReplaceAll(s.name, ".", "/")
	for _, root := range j.pythonPath() {
		here := func(name string) bool {
			_, err := j.stat(filepath.Join(root, filepath.FromSlash(name)), j.codeNamed)
			return err == nil
		}
		top, _, _ := strings.Cut(module, "/")
		regular := here(top+"/__init__.py") || here(top+".py")
		switch {
		case !regular && (!here(top) || imports.Known(s.name)): // it may be installed
		case here(module + ".py"), here(module + "/__main__.py"),
			j.compiled(filepath.Join(root, filepath.FromSlash(module))):
			return ""
		case here(module):
			return fmt.Sprintf("python -m %s starts the package's __main__.py, and the source directory %s has no "+
				"%s/__main__.py",
				s.name, j.Code, module)
		default:
			return fmt.Sprintf("the module %s does not exist: the source directory %s has no %s.py%s",
				s.name, j.Code, module, j.similarScript(module+".py"))
		}
	}
	return ""
}

// Started returns the file that the command starts, relative to the source directory, ""
// where that cannot be told.
func (j *Job) Started() string {
	if s := starts(j.Command); s != nil && !s.module {
		return s.name
	}
	return ""
}

// Foreign returns the module that the command has Python start and that the source
// directory does not have: it has to be installed where the job runs. It is "" where there
// is none.
func (j *Job) Foreign() string {
	s := starts(j.Command)
	if s == nil || !s.module {
		return ""
	}
	top, _, _ := strings.Cut(s.name, ".")
	for _, root := range j.pythonPath() {
		for _, name := range []string{top, top + ".py"} {
			if _, err := j.stat(filepath.Join(root, name), j.codeNamed); err == nil {
				return ""
			}
		}
	}
	return s.name
}

// StartsPython tells whether all that the command starts is what python stands for, apart
// from programs that decide nothing.
func (j *Job) StartsPython() bool {
	starts := false
	for _, part := range segment.Split(strings.ReplaceAll(j.Command, "\\\n", " "), -1) {
		words, err := shellquote.Split(part)
		if err != nil {
			return false
		}
		for len(words) > 0 && (assigned.MatchString(words[0]) || wrappers[words[0]] > 0) {
			words = words[1:]
		}
		switch {
		case len(words) == 0:
		case pythonProgram.MatchString(words[0]):
			starts = true
		case !harmless[words[0]] || strings.HasPrefix(words[0], "pip") || words[0] == "conda":
			return false
		}
	}
	return starts
}

// pythonPath are the folders of the source directory in which Python looks for modules.
func (j *Job) pythonPath() []string {
	source := j.SourceDirectory()
	if source == "" {
		return nil
	}
	roots := []string{source}
	for _, dir := range strings.Split(j.EnvironmentVariables["PYTHONPATH"], ":") {
		if dir != "" && !path.IsAbs(dir) && filepath.IsLocal(filepath.FromSlash(dir)) {
			roots = append(roots, filepath.Join(source, filepath.FromSlash(dir)))
		}
	}
	return roots
}

// compiled tells whether there is a module of that path that is no text.
func (j *Job) compiled(module string) bool {
	t, err := j.Open(filepath.Dir(module), j.codeNamed)
	if err != nil {
		return false
	}
	defer t.Close()
	entries, _ := fs.ReadDir(t.FS(), ".")
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		ext := path.Ext(e.Name())
		return strings.HasPrefix(e.Name(), filepath.Base(module)+".") &&
			(ext == ".so" || ext == ".pyd" || ext == ".pyc")
	})
}

// python is a command that starts with a script, and nothing that could change
// the folder before it.
var python = lazyregexp.New(`^\s*python[0-9.]*\s+(?:-u\s+)?([^\s'"$;|&<>()\\-][^\s'"$;|&<>()\\]*\.py)(?:\s|$)`)

// noScript says what starts a file that a command has python start and that is no Python,
// "" where there is none.
func noScript(command string) string {
	words, err := shellquote.Split(command)
	if len(words) > 1 && words[1] == "-u" {
		words = slices.Delete(words, 1, 2)
	}
	if err != nil || len(words) < 2 || !pythonProgram.MatchString(words[0]) {
		return ""
	}
	script, shown := words[1], shellquote.Join(words[1])
	ext := path.Ext(script)
	starters := map[string]string{".sh": "sh", ".bash": "bash", ".r": "Rscript", ".R": "Rscript", ".jl": "julia"}
	switch {
	case starters[ext] != "":
		return fmt.Sprintf("%s is no Python script; start it with a command: %s %s", script, starters[ext], shown)
	case ext != ".ipynb":
		return ""
	}
	stem := strings.TrimSuffix(script, ext)
	return fmt.Sprintf("%s is a notebook, which python cannot start; run it with the command mkdir -p outputs && "+
		"papermill %s %s (papermill has to be installed), "+
		"or make a script of it: jupyter nbconvert --to script %s, and train %s.py",
		script, shown, shellquote.Join("outputs/"+path.Base(script)), shown, stem)
}

var pythonProgram = lazyregexp.New(`^python[0-9.]*$`)

// scriptOf returns the script that a command starts, "" where that cannot be
// told for certain.
func scriptOf(command string) string {
	m := python.FindStringSubmatch(command)
	if m == nil || filepath.IsAbs(m[1]) || strings.HasPrefix(m[1], "/") {
		return ""
	}
	return m[1]
}

// Script returns the script that the command starts with python, relative to the
// source directory, "" where it starts something else.
func (j *Job) Script() string { return scriptOf(j.Command) }
