package git

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	format "github.com/go-git/go-git/v5/plumbing/format/config"
)

// Config is git's configuration as it holds in one working tree.
type Config struct {
	files []*format.Config // by rising precedence
}

// Get returns the last value of section.key, "" where there is none. A key
// without "=" has the value "true".
func (c Config) Get(section, key string) string {
	for i := len(c.files) - 1; i >= 0; i-- {
		s := c.files[i].Section(section)
		for j := len(s.Options) - 1; j >= 0; j-- {
			if strings.EqualFold(s.Options[j].Key, key) {
				if s.Options[j].Value == "" {
					return "true"
				}
				return s.Options[j].Value
			}
		}
	}
	return ""
}

// Bool returns section.key as git reads a boolean, unset where there is none.
func (c Config) Bool(section, key string, unset bool) bool {
	switch v := strings.ToLower(c.Get(section, key)); v {
	case "":
		return unset
	case "true", "yes", "on":
		return true
	case "false", "no", "off":
		return false
	default:
		n, err := strconv.Atoi(v)
		return err != nil || n != 0
	}
}

// Path returns section.key as a path, with "~/" as git expands it.
func (c Config) Path(section, key string) string {
	p := c.Get(section, key)
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return filepath.FromSlash(p)
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

func readConfig(r *Repository) (Config, error) {
	var c Config
	var paths []string
	if os.Getenv("GIT_CONFIG_NOSYSTEM") == "" {
		paths = append(paths, cmp.Or(os.Getenv("GIT_CONFIG_SYSTEM"), "/etc/gitconfig"))
	}
	if global := os.Getenv("GIT_CONFIG_GLOBAL"); global != "" {
		paths = append(paths, global)
	} else {
		paths = append(paths, UserFile("config"))
		if home, err := os.UserHomeDir(); err == nil {
			paths = append(paths, filepath.Join(home, ".gitconfig"))
		}
	}
	paths = append(paths, filepath.Join(r.CommonDir, "config"))
	for _, p := range paths {
		if err := c.add(p, 0); err != nil {
			return c, err
		}
	}
	if c.Bool("extensions", "worktreeConfig", false) {
		if err := c.add(filepath.Join(r.GitDir, "config.worktree"), 0); err != nil {
			return c, err
		}
	}
	return c, nil
}

// add reads one file and, before what stands in it counts, those it includes.
// Conditional includes are left out: they hold identities, not what decides
// over files.
func (c *Config) add(path string, depth int) error {
	if path == "" || depth > 10 {
		return nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	f := format.New()
	if err := format.NewDecoder(bytes.NewReader(text)).Decode(f); err != nil {
		return fmt.Errorf("git configuration %s: %w", path, err)
	}
	for _, o := range f.Section("include").Options {
		if strings.EqualFold(o.Key, "path") {
			to := o.Value
			if rest, ok := strings.CutPrefix(to, "~/"); ok {
				home, _ := os.UserHomeDir()
				to = filepath.Join(home, rest)
			}
			if err := c.add(against(filepath.Dir(path), to), depth+1); err != nil {
				return err
			}
		}
	}
	c.files = append(c.files, f)
	return nil
}
