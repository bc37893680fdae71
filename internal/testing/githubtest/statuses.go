package githubtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Status is a commit status. Those of one context follow each other.
type Status struct {
	ID          int64     `json:"id"`
	State       string    `json:"state"`
	Description *string   `json:"description"`
	TargetURL   *string   `json:"target_url"`
	Context     string    `json:"context"`
	CreatedAt   time.Time `json:"created_at"`
	Creator     User      `json:"creator"`

	Commit string `json:"-"`
}

// SetStatus adds somebody's status, as old as that.
func (g *GitHub) SetStatus(commit, context, state, description, link string, age time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next++
	g.Statuses = append(g.Statuses, Status{ID: g.next, State: state, Description: &description, TargetURL: &link,
		Context: context, CreatedAt: time.Now().Add(-age), Creator: Bot, Commit: commit})
}

// History returns the states that a context of a commit had, the last one last.
func (g *GitHub) History(commit, context string) []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Status
	for _, s := range g.Statuses {
		if s.Commit == commit && s.Context == context {
			out = append(out, s)
		}
	}
	return out
}

// exists tells whether there is a commit that statuses can be set on.
func (g *GitHub) exists(commit string) bool {
	pull := func(p PullRequest) bool {
		return p.Head == commit || p.Merge == commit || p.Base == commit || slices.Contains(p.Past, commit)
	}
	return g.has(commit) || slices.ContainsFunc(g.PullRequests, pull)
}

// statuses answers for the statuses of commits.
func (g *GitHub) statuses(w http.ResponseWriter, r *http.Request, parts []string, user User, body []byte) (int, any) {
	if g.NoStatuses {
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	if r.Method == http.MethodGet {
		return g.combined(w, r, parts[1])
	}
	var request struct {
		State       string  `json:"state"`
		TargetURL   *string `json:"target_url"`
		Description *string `json:"description"`
		Context     *string `json:"context"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	invalid := func(what string) (int, any) {
		return refuse(http.StatusUnprocessableEntity, "Validation Failed: "+what)
	}
	switch {
	case len(parts[1]) != 40 || !g.exists(parts[1]):
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+parts[1])
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, request.State):
		return invalid("state is not included in the list")
	case request.Context == nil || *request.Context == "" || utf8.RuneCountInString(*request.Context) > 255:
		return invalid("context is too long (maximum is 255 characters)")
	case request.Description != nil && utf8.RuneCountInString(*request.Description) > 140:
		return invalid("description is too long (maximum is 140 characters)")
	case request.TargetURL != nil && !strings.HasPrefix(*request.TargetURL, "http"):
		return invalid("target_url must use http(s) scheme")
	}
	g.next++
	s := Status{ID: g.next, State: request.State, Description: request.Description, TargetURL: request.TargetURL,
		Context: *request.Context, CreatedAt: time.Now(), Creator: user, Commit: parts[1]}
	g.Statuses = append(g.Statuses, s)
	return http.StatusCreated, s
}

// latest are the last statuses of a commit's contexts.
func (g *GitHub) latest(commit string) []Status {
	var out []Status
	for _, s := range slices.Backward(g.Statuses) {
		same := func(o Status) bool { return o.Context == s.Context }
		if s.Commit == commit && !slices.ContainsFunc(out, same) {
			out = append(out, s)
		}
	}
	return out
}

// combined answers with a page of them.
func (g *GitHub) combined(w http.ResponseWriter, r *http.Request, commit string) (int, any) {
	if !g.exists(commit) {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+commit)
	}
	all := g.latest(commit)
	from, to := bounds(w, r, len(all))
	return http.StatusOK, map[string]any{"sha": commit, "total_count": len(all), "state": "pending",
		"statuses": append([]Status{}, all[from:to]...)}
}

// bounds are those of the page that is asked for; the Link header says where the next one is.
func bounds(w http.ResponseWriter, r *http.Request, n int) (from, to int) {
	query := r.URL.Query()
	size, page := 30, 1
	if n, err := strconv.Atoi(query.Get("per_page")); err == nil {
		size = min(max(n, 1), 100)
	}
	if n, err := strconv.Atoi(query.Get("page")); err == nil {
		page = max(n, 1)
	}
	from = min((page-1)*size, n)
	to = min(from+size, n)
	if to < n {
		query.Set("page", strconv.Itoa(page+1))
		w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, r.Host, r.URL.Path, query.Encode()))
	}
	return from, to
}

// StatusesQuery is the one query about statuses that is answered, its blanks aside. GitHub's
// own schema judges the one that is sent (TestSchema in package github).
const StatusesQuery = `query($owner: String!, $name: String!, $pulls: String, $branches: String,
    $morePulls: Boolean!, $moreBranches: Boolean!) {
  repository(owner: $owner, name: $name) {
    pullRequests(first: 50, after: $pulls, orderBy: {field: UPDATED_AT, direction: DESC}) @include(if: $morePulls) {
      pageInfo { hasNextPage endCursor }
      nodes { number updatedAt commits(last: 10) { nodes { commit { ...statuses } } } }
    }
    refs(refPrefix: "refs/heads/", first: 50, after: $branches) @include(if: $moreBranches) {
      pageInfo { hasNextPage endCursor }
      nodes { target { ... on Commit { history(first: 10) { nodes { ...statuses } } } } }
    }
  }
}
fragment statuses on Commit {
  oid
  status { contexts { context state description targetUrl createdAt } }
}`

// graphQL answers the queries that there are.
func (g *GitHub) graphQL(user User, body []byte) (int, any) {
	if g.NoGraphQL {
		return refuse(http.StatusNotFound, "Not Found")
	}
	var request struct {
		Query     string `json:"query"`
		Variables *struct {
			Owner        string  `json:"owner"`
			Name         string  `json:"name"`
			Pulls        *string `json:"pulls"`
			Branches     *string `json:"branches"`
			MorePulls    *bool   `json:"morePulls"`
			MoreBranches *bool   `json:"moreBranches"`
		} `json:"variables"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	wrong := func(message string) (int, any) {
		return http.StatusOK, map[string]any{"data": nil, "errors": []any{map[string]string{"message": message}}}
	}
	v := request.Variables
	switch words(request.Query) {
	case "query { viewer { login } }":
		return http.StatusOK, map[string]any{"data": map[string]any{"viewer": map[string]string{"login": user.Login}}}
	case words(StatusesQuery):
	default:
		return wrong("Parse error: it is no query that is known here")
	}
	switch {
	case v == nil || v.MorePulls == nil || v.MoreBranches == nil:
		return wrong("Variable $morePulls of type Boolean! was provided invalid value")
	case v.Owner != "org" || v.Name != "x":
		return wrong("Could not resolve to a Repository with the name '" + v.Owner + "/" + v.Name + "'.")
	case g.NoStatuses:
		return wrong("Resource not accessible by integration")
	}
	repository := map[string]any{}
	if *v.MorePulls {
		repository["pullRequests"] = g.pulls(v.Pulls)
	}
	if *v.MoreBranches {
		repository["refs"] = g.refs(v.Branches)
	}
	return http.StatusOK, map[string]any{"data": map[string]any{"repository": repository}}
}

// connection is a page of nodes.
func connection[T any](list []T, after *string, node func(T) any) any {
	const size = 50
	from := 0
	if after != nil {
		from, _ = strconv.Atoi(*after)
	}
	from = min(from, len(list))
	to := min(from+size, len(list))
	nodes := []any{}
	for _, one := range list[from:to] {
		nodes = append(nodes, node(one))
	}
	return map[string]any{"nodes": nodes,
		"pageInfo": map[string]any{"hasNextPage": to < len(list), "endCursor": strconv.Itoa(to)}}
}

func (g *GitHub) pulls(after *string) any {
	list := slices.Clone(g.PullRequests)
	for i := range list {
		if list[i].Updated.IsZero() {
			list[i].Updated = time.Now()
		}
	}
	slices.SortStableFunc(list, func(a, b PullRequest) int { return b.Updated.Compare(a.Updated) })
	return connection(list, after, func(p PullRequest) any {
		var commits []any
		for _, id := range append(slices.Clone(p.Past), p.Head) {
			commits = append(commits, map[string]any{"commit": g.commit(id)})
		}
		return map[string]any{"number": p.Number, "updatedAt": p.Updated,
			"commits": map[string]any{"nodes": commits[max(0, len(commits)-10):]}}
	})
}

func (g *GitHub) refs(after *string) any {
	var names []string
	for name := range g.Branches {
		names = append(names, name)
	}
	slices.Sort(names)
	return connection(names, after, func(name string) any {
		var history []any
		for _, id := range g.Branches[name] {
			history = append(history, g.commit(id))
		}
		return map[string]any{"target": map[string]any{
			"history": map[string]any{"nodes": history[:min(len(history), 10)]}}}
	})
}

// commit is one with its statuses, as GraphQL tells of them.
func (g *GitHub) commit(id string) any {
	var contexts []any
	for _, s := range g.latest(id) {
		contexts = append(contexts, map[string]any{"context": s.Context, "state": strings.ToUpper(s.State),
			"description": s.Description, "targetUrl": s.TargetURL, "createdAt": s.CreatedAt})
	}
	if contexts == nil {
		return map[string]any{"oid": id, "status": nil}
	}
	return map[string]any{"oid": id, "status": map[string]any{"contexts": contexts}}
}
