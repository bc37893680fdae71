package githubtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// MakeGit makes a bare repository in a folder, as that of org/x: what is asked of its objects
// and references is answered by git, and so is git's own protocol at /org/x.git.
func (g *GitHub) MakeGit(dir string) error {
	g.Git = dir
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", dir},
		{"-C", dir, "config", "http.receivepack", "true"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// git runs git in the bare repository.
func (g *GitHub) git(args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", g.Git}, args...)...).Output()
	return string(out), err
}

// gitProtocol answers for git's own protocol; ok is false for other requests.
func (g *GitHub) gitProtocol(w http.ResponseWriter, r *http.Request) (ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/org/x.git/")
	if !ok || g.Git == "" {
		return false
	}
	name, token, signed := r.BasicAuth()
	_, known := users[token]
	switch {
	case !signed || !known || name != "x-access-token":
		w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	case token == Fork || g.NoContents:
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	r.URL.Path = "/" + rest
	(&cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/",
		Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + g.Git, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + name,
			"GIT_CONFIG_NOSYSTEM=1"},
		InheritEnv: []string{"PATH", "HOME"}}).ServeHTTP(w, r)
	return true
}

// gitObjects answers what is asked of references, trees and blobs (docs.github.com, "REST API
// endpoints for Git database"); status is 0 where the repository has no such thing.
func (g *GitHub) gitObjects(parts []string) (status int, answer any) {
	if g.Git == "" || parts[0] != "git" || len(parts) < 3 {
		return 0, nil
	}
	name := strings.Join(parts[2:], "/")
	switch parts[1] {
	case "ref":
		id, err := g.git("rev-parse", "--verify", "-q", "refs/"+name)
		if err != nil {
			return 0, nil
		}
		return http.StatusOK, map[string]any{"ref": "refs/" + name,
			"object": map[string]string{"type": "commit", "sha": strings.TrimSpace(id)}}
	case "trees":
		text, err := g.git("ls-tree", "-l", "-z", name)
		if err != nil {
			return 0, nil
		}
		list := []any{}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
			about, path, _ := strings.Cut(line, "\t")
			f := strings.Fields(about)
			entry := map[string]any{"path": path, "mode": f[0], "type": f[1], "sha": f[2]}
			if size, err := strconv.Atoi(f[3]); err == nil {
				entry["size"] = size
			}
			list = append(list, entry)
		}
		return http.StatusOK, map[string]any{"sha": name, "truncated": false, "tree": list}
	case "blobs":
		text, err := g.git("cat-file", "blob", name)
		if err != nil {
			return 0, nil
		}
		return http.StatusOK, map[string]any{"sha": name, "size": len(text), "encoding": "base64",
			"content": base64.StdEncoding.EncodeToString([]byte(text)) + "\n"}
	}
	return 0, nil
}
