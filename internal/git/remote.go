package git

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/limited"
)

// RemoteURL returns where git fetch would fetch from, as git ls-remote --get-url says
// it: the URL of the branch's remote, else of the only one, else of origin, rewritten
// as url.BASE.insteadOf says. It can hold credentials. Where git falls back on the word
// "origin", which is no URL, it is "".
func (r *Repository) RemoteURL(branch string) string {
	name := ""
	if branch != "" {
		name = r.Config.Get("branch." + branch + ".remote")
	}
	chosen := name != ""
	if !chosen {
		name = "origin"
		if only := r.Config.remotes(); len(only) == 1 {
			name = only[0]
		}
	}
	if urls := r.Config.All("remote." + name + ".url"); len(urls) > 0 {
		return r.Config.rewrite(urls[0])
	}
	if url := r.namedFile(name); url != "" {
		return r.Config.rewrite(url)
	}
	if !chosen {
		return ""
	}
	return r.Config.rewrite(name) // a branch's remote can be a URL, or "." for this repository
}

// remotes are the names of all remotes that the configuration says anything of.
func (c Config) remotes() []string {
	var names []string
	for _, e := range c.entries {
		rest, ok := strings.CutPrefix(e.Key, "remote.")
		if i := strings.LastIndexByte(rest, '.'); ok && i > 0 && !slices.Contains(names, rest[:i]) {
			names = append(names, rest[:i])
		}
	}
	return names
}

// rewrite replaces the longest beginning of a URL that a url.BASE.insteadOf names by
// BASE; of two that are as long, that of the base that was named first.
func (c Config) rewrite(url string) string {
	bases, instead := c.Subsections("url", "insteadof")
	best, rank := -1, 0
	for i, beginning := range instead {
		if !strings.HasPrefix(url, beginning) {
			continue
		}
		first := slices.Index(bases, bases[i])
		longer := best < 0 || len(beginning) > len(instead[best])
		if longer || len(beginning) == len(instead[best]) && first < rank {
			best, rank = i, first
		}
	}
	if best < 0 {
		return url
	}
	return bases[best] + url[len(instead[best]):]
}

// namedFile returns the URL of a remote that is described as in the days before the
// configuration, in remotes/NAME or branches/NAME (gitrepository-layout(5)).
func (r *Repository) namedFile(name string) string {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return ""
	}
	if text, err := limited.Read(filepath.Join(r.CommonDir, "remotes", name), limited.Config); err == nil {
		for line := range strings.Lines(string(text)) {
			if url, ok := strings.CutPrefix(line, "URL:"); ok {
				return strings.TrimSpace(url)
			}
		}
	}
	if text, err := limited.Read(filepath.Join(r.CommonDir, "branches", name), limited.Config); err == nil {
		url, _, _ := strings.Cut(strings.TrimSpace(string(text)), "#")
		return url
	}
	return ""
}
