package git

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/org/aml-train/internal/limited"
)

// Config is git's configuration as it holds in one working tree: the entries of every
// scope, in the order in which git reads them, so that the last one of a key holds.
type Config struct{ entries []Entry }

// Entries returns what git config --list shows.
func (c Config) Entries() []Entry { return c.entries }

// Lookup returns the last entry of a key such as "branch.main.remote".
func (c Config) Lookup(key string) (Entry, bool) {
	for i := len(c.entries) - 1; i >= 0; i-- {
		if c.entries[i].Key == key {
			return c.entries[i], true
		}
	}
	return Entry{}, false
}

// Get returns the last value of a key, "" where there is none.
func (c Config) Get(key string) string {
	e, _ := c.Lookup(key)
	return e.Value
}

// All returns every value of a key, the first one first.
func (c Config) All(key string) []string {
	var all []string
	for _, e := range c.entries {
		if e.Key == key {
			all = append(all, e.Value)
		}
	}
	return all
}

// Subsections returns the entries of section.SUBSECTION.name for every subsection, in
// their order.
func (c Config) Subsections(section, name string) (subsections []string, values []string) {
	for _, e := range c.entries {
		rest, ok := strings.CutPrefix(e.Key, section+".")
		if !ok {
			continue
		}
		if sub, ok := strings.CutSuffix(rest, "."+name); ok {
			subsections, values = append(subsections, sub), append(values, e.Value)
		}
	}
	return subsections, values
}

// Bool returns a key as git reads a boolean, unset where there is none.
func (c Config) Bool(key string, unset bool) bool {
	if e, ok := c.Lookup(key); ok {
		if value, ok := e.boolean(); ok {
			return value
		}
	}
	return unset
}

// boolean reads a value as git does (git-config(1), "Values"): a word, or a number with
// a unit.
func (e Entry) boolean() (value, ok bool) {
	if !e.HasValue {
		return true, true
	}
	switch strings.ToLower(e.Value) {
	case "true", "yes", "on":
		return true, true
	case "", "false", "no", "off":
		return false, true
	}
	digits := strings.TrimLeft(e.Value, " \t\n\r\v\f")
	if n := len(digits); n > 0 && strings.IndexByte("kmgKMG", digits[n-1]) >= 0 {
		digits = digits[:n-1]
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	return n != 0, err == nil
}

// booleans are the keys that this program reads as booleans.
var booleans = []string{
	"core.bare", "core.filemode", "core.ignorecase", "core.sparsecheckout", "core.symlinks", "core.trustctime",
	"core.usereplacerefs",
	"extensions.worktreeconfig",
}

// check refuses what git refuses of the keys that this program reads. What it does not
// read can be as it likes.
func (c Config) check() error {
	for _, key := range booleans {
		if e, ok := c.Lookup(key); ok {
			if _, ok := e.boolean(); !ok {
				where := strings.TrimPrefix(e.Origin, "file:")
				return &locatedError{where, fmt.Errorf("%s is %q, which is no boolean", key, e.Value)}
			}
		}
	}
	return nil
}

// Path returns a key as a path, expanded as git does; false where there is none. It can
// be "", which names no file.
func (c Config) Path(key string) (string, bool) {
	e, ok := c.Lookup(key)
	if !ok {
		return "", false
	}
	path, err := expand(e.Value)
	return path, err == nil
}

// expand replaces "~/" and "~USER/" at the beginning of a path.
func expand(path string) (string, error) {
	if !strings.HasPrefix(path, "~") {
		return filepath.FromSlash(path), nil
	}
	name, rest, _ := strings.Cut(path[1:], "/")
	home := os.Getenv("HOME")
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		home = u.HomeDir
	} else if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	return filepath.Join(home, filepath.FromSlash(rest)), nil
}

// UserFile returns a file of the person's git folder, "ignore" or "attributes":
// $XDG_CONFIG_HOME/git/NAME or ~/.config/git/NAME.
func UserFile(name string) string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "git", name)
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".config", "git", name)
	}
	return ""
}

// SystemAttributes returns the file of attributes that are for everybody on this machine, ""
// for none (gitattributes(5), "FILES"; git(1), GIT_ATTR_NOSYSTEM).
func SystemAttributes() string {
	if truth("GIT_ATTR_NOSYSTEM") {
		return ""
	}
	return "/etc/gitattributes"
}

// truth reads a variable of the environment as git reads a boolean, false where it is unset.
func truth(variable string) bool {
	value, _ := (Entry{Value: os.Getenv(variable), HasValue: true}).boolean()
	return value
}

// source is a file of the configuration. What cannot be read of a person's own or of
// the machine's is passed over, as git does; a repository's has to be readable.
type source struct {
	path     string
	optional bool
}

// machineSources are the files of the scopes beside the repository, by rising
// precedence (git-config(1), "FILES").
func machineSources() []source {
	var list []source
	if !truth("GIT_CONFIG_NOSYSTEM") {
		list = append(list, source{cmp.Or(os.Getenv("GIT_CONFIG_SYSTEM"), "/etc/gitconfig"), true})
	}
	if global, ok := os.LookupEnv("GIT_CONFIG_GLOBAL"); ok {
		list = append(list, source{global, true})
	} else {
		list = append(list, source{UserFile("config"), true})
		if home, err := os.UserHomeDir(); err == nil {
			list = append(list, source{filepath.Join(home, ".gitconfig"), true})
		}
	}
	return list
}

// texts are the files that were read already, by path. The zero value has none.
type texts struct {
	mu   sync.Mutex
	held map[string]text
}

type text struct {
	content string
	err     error
}

func (t *texts) read(path string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	held, ok := t.held[path]
	if !ok {
		content, err := limited.Read(path, configLimit)
		if t.held == nil {
			t.held = map[string]text{}
		}
		held = text{string(content), err}
		t.held[path] = held
	}
	return held.content, held.err
}

// configLimit is the most, in bytes, that a configuration file may have.
const configLimit = 16 << 20

// readConfig reads the configuration of a repository.
func readConfig(r *Repository, t *texts) (Config, error) {
	own, err := r.ownConfig(t)
	if err != nil {
		return Config{}, err
	}
	sources := append(machineSources(), source{filepath.Join(r.CommonDir, "config"), false})
	if own.Bool("extensions.worktreeconfig", false) { // git looks for it in that file alone
		sources = append(sources, source{filepath.Join(r.GitDir, "config.worktree"), false})
	}
	l := &loader{repository: r, texts: t}
	if err := l.all(sources); err != nil {
		return l.config, err
	}
	if l.remoteURLs { // asked for while the remotes were not all read yet: again with all of them
		l = &loader{repository: r, texts: t, urls: l.config.remoteURLs()}
		if err := l.all(sources); err != nil {
			return l.config, err
		}
	}
	return l.config, l.config.check()
}

// all reads files, and then the environment.
func (l *loader) all(sources []source) error {
	for _, s := range sources {
		if err := l.file(s, 0); err != nil {
			return err
		}
	}
	return l.environment()
}

// OwnConfig returns what the repository's own file, .git/config, says now, and nothing
// of what it includes: that no clone brings.
func (r *Repository) OwnConfig() (Config, error) { return r.ownConfig(&texts{}) }

func (r *Repository) ownConfig(t *texts) (Config, error) {
	l := &loader{repository: r, plain: true, texts: t}
	err := l.file(source{filepath.Join(r.CommonDir, "config"), false}, 0)
	return l.config, err
}

func (c Config) remoteURLs() []string {
	urls := []string{}
	for _, e := range c.entries {
		if e.remoteURL() {
			urls = append(urls, e.Value)
		}
	}
	return urls
}

func (e Entry) remoteURL() bool {
	name, ok := strings.CutPrefix(e.Key, "remote.")
	return ok && strings.HasSuffix(name, ".url")
}

// loader reads files one after the other, and those that they include in their place.
type loader struct {
	repository *Repository
	texts      *texts
	config     Config
	plain      bool     // nothing is included
	urls       []string // of all remotes; nil while they are not known
	remoteURLs bool     // a condition has asked for them
	noURLs     int      // how many such conditions are around what is read now
	files      int      // that were read
}

// maxConfigFiles is how many files a configuration may be made of: each may include the
// same ten, and so on.
const maxConfigFiles = 1000

func (l *loader) file(s source, depth int) error {
	if s.path == "" {
		return nil
	}
	if l.files++; l.files > maxConfigFiles {
		return fmt.Errorf("git configuration: %s: more than %d files are included", s.path, maxConfigFiles)
	}
	content, err := l.texts.read(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), s.optional &&
		errors.Is(err, fs.ErrPermission):
		return nil
	case s.path == os.DevNull: // by which a scope is switched off (GIT_CONFIG_GLOBAL=/dev/null)
		return nil
	}
	if err != nil {
		return fmt.Errorf("git configuration: %w", err)
	}
	err = parseConfig(content, func(key, value string, hasValue bool) error {
		e := Entry{Key: key, Value: value, HasValue: hasValue, Origin: "file:" + s.path}
		l.config.entries = append(l.config.entries, e)
		if l.plain {
			return nil
		}
		if l.noURLs > 0 && e.remoteURL() {
			return errors.New("a file that is included because of the URLs of remotes can name none")
		}
		return l.include(e, s.path, depth)
	})
	var located *locatedError
	if err == nil || errors.As(err, &located) {
		return err
	}
	return &locatedError{s.path, err}
}

// locatedError is what is wrong with a configuration, and where.
type locatedError struct {
	where string
	err   error
}

func (e *locatedError) Error() string { return fmt.Sprintf("git configuration %s: %v", e.where, e.err) }
func (e *locatedError) Unwrap() error { return e.err }

// Environment variables that carry configuration, which is how git -c reaches a hook
// (git-config(1), "ENVIRONMENT"; the form of the second is quote.c's and config.c's).
const (
	countVariable      = "GIT_CONFIG_COUNT"
	parametersVariable = "GIT_CONFIG_PARAMETERS"
)

// environment reads the configuration of the command line.
func (l *loader) environment() error {
	pair := func(key, value string, hasValue bool) error {
		key, err := canonicalKey(key)
		if err != nil {
			return err
		}
		e := Entry{Key: key, Value: value, HasValue: hasValue, Origin: "command line:"}
		l.config.entries = append(l.config.entries, e)
		return l.include(e, "", 0)
	}
	if text := os.Getenv(countVariable); text != "" {
		n, err := strconv.ParseUint(strings.TrimLeft(text, " \t\n\v\f\r"), 10, 31)
		if err != nil {
			return fmt.Errorf("%s is %q, which is no count", countVariable, text)
		}
		for i := range n {
			key, ok := os.LookupEnv(fmt.Sprintf("GIT_CONFIG_KEY_%d", i))
			value, ok2 := os.LookupEnv(fmt.Sprintf("GIT_CONFIG_VALUE_%d", i))
			if !ok || !ok2 {
				return fmt.Errorf("%s is %s, and GIT_CONFIG_KEY_%d or GIT_CONFIG_VALUE_%d is not set",
					countVariable, text, i, i)
			}
			if err := pair(key, value, true); err != nil {
				return fmt.Errorf("GIT_CONFIG_KEY_%d: %w", i, err)
			}
		}
	}
	if err := parseParameters(os.Getenv(parametersVariable), pair); err != nil {
		return fmt.Errorf("%s: %w", parametersVariable, err)
	}
	return nil
}

// errParameters says that the variable is not as git writes it.
var errParameters = errors.New("it is not as git writes it")

// parseParameters reads 'key'='value' and the older 'key=value', between blanks.
func parseParameters(text string, each func(key, value string, hasValue bool) error) error {
	for text != "" {
		key, rest, ok := unquote(text)
		if !ok {
			return errParameters
		}
		value, hasValue := "", false
		switch {
		case rest == "" || space(rest[0]):
			key, value, hasValue = strings.Cut(key, "=")
			if key = strings.Trim(key, " \t\n\r"); key == "" {
				return errParameters
			}
		case rest[0] != '=':
			return errParameters
		case len(rest) > 1 && rest[1] == '\'':
			if value, rest, hasValue = unquote(rest[1:]); !hasValue || rest != "" && !space(rest[0]) {
				return errParameters
			}
		case len(rest) == 1 || space(rest[1]): // 'key'= is a name without a value
			rest = rest[1:]
		default:
			return errParameters
		}
		if err := each(key, value, hasValue); err != nil {
			return err
		}
		text = strings.TrimLeft(rest, " \t\n\r")
	}
	return nil
}

// unquote reads a text that git quoted for a shell, and returns what follows it.
func unquote(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, "'") {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '\'' {
			b.WriteByte(text[i])
			continue
		}
		i++
		if i+2 < len(text) && text[i] == '\\' && (text[i+1] == '\'' || text[i+1] == '!') && text[i+2] == '\'' {
			b.WriteByte(text[i+1])
			i += 2
			continue
		}
		return b.String(), text[i:], true
	}
	return "", "", false
}
