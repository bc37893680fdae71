package githubtest

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Collaborator is what GitHub knows of somebody.
type Collaborator struct {
	Role string // none, read, triage, write, maintain or admin
	ID   int64  // 0 for the one that goes with the name
	Gone bool   // there is nobody of that name any more
	Bot  bool
}

// Reaction is one to a comment.
type Reaction struct {
	Comment int64
	Login   string
	Content string
}

// epoch is when the double's time begins.
const epoch = 1_800_000_000

// now is the double's time: GitHub tells it in whole seconds.
func (g *GitHub) now() time.Time { return time.Unix(epoch+g.clock, 0).UTC() }

// Tick lets a second pass: what happens in between has the same time.
func (g *GitHub) Tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock++
}

// userID is the number of a user.
func (g *GitHub) userID(u User) int64 {
	if u.ID != 0 {
		return u.ID
	}
	if p := g.People[u.Login]; p.ID != 0 {
		return p.ID
	}
	h := fnv.New32a()
	h.Write([]byte(u.Login))
	return int64(h.Sum32())
}

// Comment returns a comment as it is now; ok is false where it was deleted.
func (g *GitHub) Comment(id int64) (c Comment, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.IndexFunc(g.Comments, func(c Comment) bool { return c.ID == id })
	if at < 0 {
		return c, false
	}
	return g.Comments[at], true
}

// Edit has a comment say something else, whoever wrote it.
func (g *GitHub) Edit(id int64, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.Comments {
		if g.Comments[i].ID == id {
			g.Comments[i].Body, g.Comments[i].Updated = body, g.now()
		}
	}
}

// Delete takes a comment away.
func (g *GitHub) Delete(id int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Comments = slices.DeleteFunc(g.Comments, func(c Comment) bool { return c.ID == id })
}

// Permit says what somebody may do.
func (g *GitHub) Permit(login string, p Collaborator) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.People == nil {
		g.People = map[string]Collaborator{}
	}
	g.People[login] = p
}

// Change changes pull request 7.
func (g *GitHub) Change(change func(*PullRequest)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.PullRequests {
		if g.PullRequests[i].Number == 7 {
			change(&g.PullRequests[i])
		}
	}
}

// Event is the payload of an issue_comment event about a comment as it is now.
func (g *GitHub) Event(action string, id int64) []byte {
	c, _ := g.Comment(id)
	text, err := json.Marshal(map[string]any{"action": action, "comment": c,
		"issue":      map[string]any{"number": c.Number, "pull_request": map[string]any{"url": "u"}},
		"repository": map[string]any{"full_name": "org/x", "default_branch": "main"}})
	if err != nil {
		panic(err)
	}
	return text
}

// permission answers what somebody may do (docs.github.com, "REST API endpoints for
// collaborators", Get repository permissions for a user): maintain is told as write, triage as
// read, and role_name tells more.
func (g *GitHub) permission(login string) (int, any) {
	p := g.People[login]
	if p.Gone {
		return refuse(http.StatusNotFound, "Not Found")
	}
	if p.Role == "" {
		p.Role = "read"
	}
	permission, kind := p.Role, "User"
	switch p.Role {
	case "maintain":
		permission = "write"
	case "triage":
		permission = "read"
	}
	if p.Bot {
		kind = "Bot"
	}
	return http.StatusOK, map[string]any{"permission": permission, "role_name": p.Role,
		"user": User{Login: login, Type: kind, ID: g.userID(User{Login: login})}}
}

var contents = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

// react takes a reaction to a comment; each user has one of each kind.
func (g *GitHub) react(r *http.Request, comment string, user User, body []byte) (int, any) {
	id, err := strconv.ParseInt(comment, 10, 64)
	if err != nil || !slices.ContainsFunc(g.Comments, func(c Comment) bool { return c.ID == id }) ||
		r.Method != http.MethodPost {
		return refuse(http.StatusNotFound, "Not Found")
	}
	var request struct {
		Content string `json:"content"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(&request) != nil || !slices.Contains(contents, request.Content) {
		return refuse(http.StatusUnprocessableEntity, "Validation Failed")
	}
	status, one := http.StatusCreated, Reaction{id, user.Login, request.Content}
	if slices.Contains(g.Reactions, one) {
		status = http.StatusOK
	} else {
		g.Reactions = append(g.Reactions, one)
	}
	return status, map[string]any{"id": 1, "node_id": "R_", "content": request.Content, "user": user,
		"created_at": g.now()}
}

// answer is a pull request as GitHub tells it.
func (p PullRequest) answer() any {
	state, base := "open", p.BaseRef
	if p.Closed {
		state = "closed"
	}
	if base == "" {
		base = "main"
	}
	var repo any = map[string]any{"full_name": p.Repo}
	if p.Repo == "" { // it was deleted
		repo = nil
	}
	return map[string]any{"number": p.Number, "merge_commit_sha": p.Merge, "state": state, "draft": p.Draft,
		"base": map[string]any{"sha": p.Base, "ref": base},
		"head": map[string]any{"sha": p.Head, "ref": p.HeadRef, "repo": repo}}
}
