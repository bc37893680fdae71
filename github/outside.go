package github

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

// scpLike is an address as ssh has it: git@HOST:OWNER/NAME.git.
var scpLike = lazyregexp.New(`^(?:[^@/]+@)?([^:/]+):([^/].*)$`)

// Outside is the repository that a command outside a workflow is about, as a workflow of it
// would know it: GITHUB_REPOSITORY's, else that of a remote's address. The token is the one
// that gh takes (cli.github.com, "gh help environment"): one of github.com goes to no other host
// that a remote names.
func Outside(getenv func(string) string, remote string) (*Workflow, error) {
	w := &Workflow{Repository: getenv("GITHUB_REPOSITORY"), API: getenv("GITHUB_API_URL"),
		Server: cmp.Or(getenv("GITHUB_SERVER_URL"), "https://github.com"),
		Token:  cmp.Or(getenv("GH_TOKEN"), getenv("GITHUB_TOKEN"))}
	if w.Repository != "" {
		return w, nil
	}
	host, path := "", ""
	if m := scpLike.FindStringSubmatch(remote); m != nil && !strings.Contains(remote, "://") {
		host, path = m[1], m[2]
	} else if u, err := url.Parse(remote); err == nil {
		host, path = u.Hostname(), u.Path
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if remote == "" {
		return nil, errors.New("nobody can tell which repository on GitHub this is: there is no remote here; add one " +
			"with git remote add origin URL, or set GITHUB_REPOSITORY to OWNER/NAME")
	}
	if owner, name, ok := strings.Cut(path, "/"); host == "" || !ok || owner == "" || name == "" ||
		strings.Contains(name, "/") {
		return nil, fmt.Errorf("nobody can tell which repository on GitHub this is: the remote is %q; set "+
			"GITHUB_REPOSITORY to OWNER/NAME", remote)
	}
	w.Repository = path
	switch host = strings.ToLower(host); {
	case host == "github.com" || host == "ssh.github.com" || w.API != "":
	case strings.HasSuffix(host, ".ghe.com"): // GitHub's own, too
		w.API, w.Server = "https://api."+host, "https://"+host
	default:
		w.API, w.Server = "https://"+host+"/api/v3", "https://"+host
		w.Token = cmp.Or(getenv("GH_ENTERPRISE_TOKEN"), getenv("GITHUB_ENTERPRISE_TOKEN"))
	}
	return w, nil
}
