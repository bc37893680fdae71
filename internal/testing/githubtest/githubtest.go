// Package githubtest answers: what would GitHub have said?
//
// It stands for the part of GitHub's REST API that comments on pull requests and says
// whose commits are (docs.github.com, "REST API endpoints for issue comments" and "for
// commits"), with state, and
// refuses what GitHub refuses: a request without a token, one that the token has no
// right to, an unknown field, a body that is too long. Whether a request fits
// GitHub's own description is for Prism to say.
package githubtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The tokens that there are.
const (
	Workflow = "ghs_workflowtoken"   // of a workflow that may write
	Fork     = "ghs_forkstokentoken" // of a workflow on a fork's pull request
	Person   = "ghp_personaltoken"   // of the user ada
	App      = "ghs_teamapptoken"    // of an app that may write
)

// User is who wrote a comment.
type User struct {
	Login string `json:"login"`
	Type  string `json:"type"` // User or Bot
	ID    int64  `json:"id"`   // 0 for the one that goes with the name
}

// Bot is who a workflow's own token writes as.
var Bot = User{Login: "github-actions[bot]", Type: "Bot"}

// AppBot is who the token of an app of the team writes as.
var AppBot = User{Login: "team-app[bot]", Type: "Bot"}

var users = map[string]User{Workflow: Bot, Fork: Bot, Person: {Login: "ada", Type: "User"}, App: AppBot}

// Comment is a comment of a pull request.
type Comment struct {
	ID      int64  `json:"id"`
	HTMLURL string `json:"html_url"`
	Body    string `json:"body"`
	User    User   `json:"user"`

	IssueURL string    `json:"issue_url"`
	Created  time.Time `json:"created_at"`
	Updated  time.Time `json:"updated_at"`

	Number int `json:"-"`
}

// PullRequest is a pull request.
type PullRequest struct {
	Number int
	Head   string // the commit
	Repo   string // of the head
	Merge  string // the commit that merges the head into the base
	Base   string // the commit at the tip of the base branch

	BaseRef string // that branch; "" for main
	HeadRef string // the branch of the head
	Draft   bool
	Closed  bool

	Past    []string  // heads that it had, the oldest first
	Updated time.Time // when something happened in it last; zero for just now
	Locked  bool      // nobody comments on it any more
}

// GitHub has one repository, org/x. Its fields may be changed while nothing is
// asked.
type GitHub struct {
	NoGraphQL bool // it does not answer

	PullRequests []PullRequest
	Comments     []Comment

	Branches map[string][]string // of org/x: their commits, the tip first; main is the default one
	Forks    []string            // commits of forks, which GitHub finds through org/x too

	Files map[string]map[string]string // by commit and name, those at the root; nil to tokens that may not read

	Runner      Runner     // the workflow run that writes artifacts now
	Artifacts   []Artifact // the newest last
	NoArtifacts bool       // the tokens have no right to read them

	Git        string // a bare repository, see MakeGit; "" for none
	NoContents bool   // the tokens have no right to write to it

	Statuses   []Status // of commits, the newest last
	NoStatuses bool     // the tokens have no right to them

	People    map[string]Collaborator // by their names; others may read
	Reactions []Reaction              // to comments, the newest last

	Asked []string // for a test to note requests in

	// Answer, where it is set, may answer a request in GitHub's place.
	Answer func(w http.ResponseWriter, r *http.Request) bool
	// Seen, where it is set, is given every request, with its body.
	Seen func(r *http.Request, body []byte)

	mu      sync.Mutex
	next    int64
	clock   int64 // seconds
	pending []Artifact
	blocks  map[string][]byte // of blobs, by the blob's id and the block's
}

// Write adds somebody's comment.
func (g *GitHub) Write(number int, who User, body string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.write(number, who, body).ID
}

func (g *GitHub) write(number int, who User, body string) *Comment {
	g.next++
	id := 1000 + g.next
	now := g.now()
	who.ID = g.userID(who)
	g.Comments = append(g.Comments, Comment{ID: id,
		HTMLURL: fmt.Sprintf("https://github.com/org/x/pull/%d#issuecomment-%d", number, id), Body: body, User: who,
		IssueURL: fmt.Sprintf("https://api.github.com/repos/org/x/issues/%d", number), Created: now, Updated: now,
		Number: number})
	return &g.Comments[len(g.Comments)-1]
}

// Bodies returns the comments of a pull request that a user wrote.
func (g *GitHub) Bodies(number int, who User) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, c := range g.Comments {
		if c.Number == number && c.User.Login == who.Login {
			out = append(out, c.Body)
		}
	}
	return out
}

// Push moves the head of a pull request.
func (g *GitHub) Push(number int, head string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.PullRequests {
		if g.PullRequests[i].Number == number {
			if old := g.PullRequests[i].Head; old != head {
				g.PullRequests[i].Past = append(g.PullRequests[i].Past, old)
			}
			g.PullRequests[i].Head = head
		}
	}
}

// Fork makes the head of a pull request another repository's.
func (g *GitHub) Fork(number int, repository string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.PullRequests {
		if g.PullRequests[i].Number == number {
			g.PullRequests[i].Repo = repository
		}
	}
}

// Branch makes commits those of a branch of org/x, its tip first.
func (g *GitHub) Branch(name string, commits []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Branches == nil {
		g.Branches = map[string][]string{}
	}
	g.Branches[name] = commits
}

// Foreign makes a commit one of a fork.
func (g *GitHub) Foreign(commit string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Forks = append(g.Forks, commit)
}

// Merge names the commit that merges a pull request.
func (g *GitHub) Merge(number int, commit string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.PullRequests {
		if g.PullRequests[i].Number == number {
			g.PullRequests[i].Merge = commit
		}
	}
}

func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if g.Seen != nil {
		g.Seen(r, body)
	}
	if g.Answer != nil && g.Answer(w, r) {
		return
	}
	g.Obey(w, r)
}

// Obey does what a request asks for, and answers it.
func (g *GitHub) Obey(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if g.artifacts(w, r, body) || g.gitProtocol(w, r) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	status, answer := g.answer(w, r, body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if answer != nil {
		json.NewEncoder(w).Encode(answer)
	}
}

func refuse(status int, message string) (int, any) {
	return status, map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"}
}

func (g *GitHub) answer(w http.ResponseWriter, r *http.Request, body []byte) (int, any) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	user, known := users[token]
	if !known {
		return refuse(http.StatusUnauthorized, "Bad credentials")
	}
	if r.Header.Get("User-Agent") == "" {
		return refuse(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your "+
			"request has a User-Agent header")
	}
	if token == Fork && r.Method != http.MethodGet {
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v3") // where a GitHub Enterprise Server has it
	if path == "/user" && r.Method == http.MethodGet {
		if user.Type == "Bot" {
			return refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
		return http.StatusOK, user
	}
	if (path == "/graphql" || path == "/api/graphql") && r.Method == http.MethodPost {
		return g.graphQL(user, body)
	}
	rest, ok := strings.CutPrefix(path, "/repos/org/x/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return refuse(http.StatusNotFound, "Not Found")
	}
	if len(parts) == 2 && parts[0] == "statuses" && r.Method == http.MethodPost || len(parts) == 3 &&
		parts[0] == "commits" && parts[2] == "status" && r.Method == http.MethodGet {
		return g.statuses(w, r, parts, user, body)
	}
	if r.Method == http.MethodGet && parts[0] != "pulls" && parts[0] != "issues" {
		if len(parts) == 3 && parts[0] == "collaborators" && parts[2] == "permission" {
			return g.permission(parts[1])
		}
		if status, answer := g.gitObjects(parts); status != 0 {
			return status, answer
		}
		return g.code(parts, r.URL.Query().Get("ref"))
	}
	return g.talk(w, r, parts, user, body)
}

// code answers what is asked of the repository's commits and files.
func (g *GitHub) code(parts []string, ref string) (int, any) {
	switch {
	case len(parts) == 3 && parts[0] == "commits" && parts[2] == "branches-where-head":
		return g.tips(parts[1])
	case len(parts) == 2 && parts[0] == "contents":
		return g.contents(ref, parts[1])
	case len(parts) == 3 && parts[0] == "git" && parts[1] == "trees":
		return g.tree(parts[2])
	case len(parts) > 3 && parts[0] == "git" && parts[1] == "ref" && parts[2] == "heads":
		name := strings.Join(parts[3:], "/")
		if commits := g.Branches[name]; len(commits) > 0 {
			return http.StatusOK, map[string]any{"ref": "refs/heads/" + name, "node_id": "REF_",
				"url":    "https://api.github.com/repos/org/x/git/refs/heads/" + name,
				"object": map[string]string{"type": "commit", "sha": commits[0], "url": "https://api.github.com/"}}
		}
	case len(parts) == 2 && parts[0] == "compare":
		return g.compare(parts[1])
	}
	return refuse(http.StatusNotFound, "Not Found")
}

// talk answers what a user asks and says of pull requests and their comments.
func (g *GitHub) talk(w http.ResponseWriter, r *http.Request, parts []string, user User, body []byte) (int, any) {
	if len(parts) == 4 && parts[0] == "issues" && parts[1] == "comments" && parts[3] == "reactions" {
		return g.react(r, parts[2], user, body)
	}
	number, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	if len(parts) == 3 && parts[0] == "issues" && parts[2] == "comments" {
		number, err = strconv.ParseInt(parts[1], 10, 64)
	}
	if err != nil {
		return refuse(http.StatusNotFound, "Not Found")
	}
	pull := slices.IndexFunc(g.PullRequests, func(p PullRequest) bool { return p.Number == int(number) })
	if pull >= 0 && g.PullRequests[pull].Locked && r.Method == http.MethodPost {
		return refuse(http.StatusForbidden, "Unable to create comment because issue is locked.")
	}
	switch {
	case len(parts) == 2 && parts[0] == "pulls" && pull >= 0 && r.Method == http.MethodGet:
		return http.StatusOK, g.PullRequests[pull].answer()
	case len(parts) == 3 && parts[2] == "comments" && pull >= 0 && r.Method == http.MethodGet:
		return g.list(w, r, int(number))
	case len(parts) == 3 && parts[2] == "comments" && pull >= 0 && r.Method == http.MethodPost:
		text, status, answer := text(body)
		if status != 0 {
			return status, answer
		}
		return http.StatusCreated, g.write(int(number), user, text)
	case len(parts) == 3 && parts[0] == "issues" && parts[1] == "comments":
		at := slices.IndexFunc(g.Comments, func(c Comment) bool { return c.ID == number })
		if at < 0 {
			return refuse(http.StatusNotFound, "Not Found")
		}
		switch r.Method {
		case http.MethodGet:
			return http.StatusOK, g.Comments[at]
		case http.MethodDelete:
			g.Comments = slices.Delete(g.Comments, at, at+1)
			return http.StatusNoContent, nil
		case http.MethodPatch:
			text, status, answer := text(body)
			if status != 0 {
				return status, answer
			}
			g.Comments[at].Body, g.Comments[at].Updated = text, g.now()
			return http.StatusOK, g.Comments[at]
		}
	}
	return refuse(http.StatusNotFound, "Not Found")
}

// has tells whether GitHub finds a commit in the repository or in a fork of it.
func (g *GitHub) has(commit string) bool {
	for _, commits := range g.Branches {
		if slices.Contains(commits, commit) {
			return true
		}
	}
	return slices.Contains(g.Forks, commit)
}

// tips answers with the branches that a commit is the tip of.
func (g *GitHub) tips(commit string) (int, any) {
	if !g.has(commit) {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+commit)
	}
	out := []any{}
	for name, commits := range g.Branches {
		if commits[0] == commit {
			out = append(out, map[string]any{"name": name, "protected": false,
				"commit": map[string]string{"sha": commit,
					"url": "https://api.github.com/repos/org/x/commits/" + commit}})
		}
	}
	return http.StatusOK, out
}

// compare answers how BASE...HEAD lie to each other, of which BASE may be a branch.
func (g *GitHub) compare(basehead string) (int, any) {
	base, head, _ := strings.Cut(basehead, "...")
	if base == "HEAD" {
		base = "main"
	}
	if commits := g.Branches[base]; len(commits) > 0 {
		base = commits[0]
	}
	if !g.has(base) || !g.has(head) {
		return refuse(http.StatusNotFound, "Not Found")
	}
	status := "diverged"
	for _, commits := range g.Branches {
		b, h := slices.Index(commits, base), slices.Index(commits, head)
		switch {
		case base == head:
			status = "identical"
		case b >= 0 && h > b:
			status = "behind"
		case h >= 0 && b > h:
			status = "ahead"
		}
	}
	return http.StatusOK, map[string]any{"status": status, "ahead_by": 0, "behind_by": 0, "total_commits": 0,
		"commits": []any{}}
}

// text reads the body of a comment, or refuses it.
func text(body []byte) (string, int, any) {
	var request struct {
		Body *string `json:"body"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(&request)
	switch {
	case err != nil:
		status, answer := refuse(http.StatusBadRequest, "Problems parsing JSON")
		return "", status, answer
	case request.Body == nil || strings.TrimSpace(*request.Body) == "":
		status, answer := refuse(http.StatusUnprocessableEntity, "Validation Failed: body cannot be blank")
		return "", status, answer
	case utf8.RuneCountInString(*request.Body) > 65536:
		status, answer := refuse(http.StatusUnprocessableEntity,
			"Validation Failed: body is too long (maximum is 65536 characters)")
		return "", status, answer
	}
	return *request.Body, 0, nil
}

// list answers with a page, and says in the Link header where the next one is.
func (g *GitHub) list(w http.ResponseWriter, r *http.Request, number int) (int, any) {
	out := []Comment{}
	for _, c := range g.Comments {
		if c.Number == number {
			out = append(out, c)
		}
	}
	from, to := bounds(w, r, len(out))
	return http.StatusOK, out[from:to]
}

// contents is a file at the root of a commit.
func (g *GitHub) contents(commit, name string) (int, any) {
	text, ok := g.Files[commit][name]
	if !ok {
		return refuse(http.StatusNotFound, "Not Found")
	}
	return http.StatusOK, map[string]any{"type": "file", "name": name, "path": name, "size": len(text),
		"encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(text))}
}

// tree lists the files at the root of a commit.
func (g *GitHub) tree(commit string) (int, any) {
	files, ok := g.Files[commit]
	if !ok {
		return refuse(http.StatusNotFound, "Not Found")
	}
	list := []any{}
	for name := range files {
		list = append(list, map[string]any{"path": name, "mode": "100644", "type": "blob"})
	}
	return http.StatusOK, map[string]any{"sha": commit, "truncated": false, "tree": list}
}
