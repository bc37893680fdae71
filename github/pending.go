package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// pendingQuery asks for the statuses of many commits at once: the last ones of each pull
// request, whether open or not, those that changed last first, and of each branch
// (docs.github.com, "GraphQL API": at most 100 of anything, 500,000 in all).
const pendingQuery = `query($owner: String!, $name: String!, $pulls: String, $branches: String,
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

// What is looked through: pull requests in which something happened since then, as a run lasts
// no longer, and so many pages of them and of branches.
const (
	lastChanged = 90 * 24 * time.Hour
	mostPages   = 10
)

// pageInfo says where the next page of a GraphQL connection is.
type pageInfo struct {
	HasNextPage bool   `json:"hasNextPage"`
	EndCursor   string `json:"endCursor"`
}

// commitStatuses are those of a commit, as the query asks for them.
type commitStatuses struct {
	OID    string `json:"oid"`
	Status *struct {
		Contexts []struct {
			Context     string    `json:"context"`
			State       string    `json:"state"` // in capitals
			Description string    `json:"description"`
			TargetURL   string    `json:"targetUrl"`
			CreatedAt   time.Time `json:"createdAt"`
		} `json:"contexts"`
	} `json:"status"`
}

// pendingAnswer is the answer to the query.
type pendingAnswer struct {
	Data struct {
		Repository *struct {
			PullRequests *struct {
				PageInfo pageInfo `json:"pageInfo"`
				Nodes    []struct {
					Number    int       `json:"number"`
					UpdatedAt time.Time `json:"updatedAt"`
					Commits   struct {
						Nodes []struct {
							Commit commitStatuses `json:"commit"`
						} `json:"nodes"`
					} `json:"commits"`
				} `json:"nodes"`
			} `json:"pullRequests"`
			Refs *struct {
				PageInfo pageInfo `json:"pageInfo"`
				Nodes    []struct {
					Target struct {
						History struct {
							Nodes []commitStatuses `json:"nodes"`
						} `json:"history"`
					} `json:"target"`
				} `json:"nodes"`
			} `json:"refs"`
		} `json:"repository"`
	} `json:"data"`
	Errors []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

// Pending lists the pending statuses of this program: of the last commits of pull requests and
// branches, each once. all is false where there is more than is looked through.
func (s *Statuses) Pending(ctx context.Context) (list []Status, all bool, err error) {
	variables := map[string]any{"owner": s.owner, "name": s.repo, "pulls": nil, "branches": nil, "morePulls": true,
		"moreBranches": true}
	at := map[string]int{} // of commit and context, in the list
	add := func(c commitStatuses, pull int) {
		if c.Status == nil {
			return
		}
		for _, is := range c.Status.Contexts {
			if is.State != "PENDING" || !strings.HasPrefix(is.Context, contextOfOurs) {
				continue
			}
			key := c.OID + " " + is.Context
			if i, seen := at[key]; seen {
				list[i].PullRequest = max(list[i].PullRequest, pull)
				continue
			}
			at[key] = len(list)
			list = append(list, Status{Commit: c.OID, Context: is.Context, State: Pending,
				Description: is.Description, URL: is.TargetURL, Created: is.CreatedAt, PullRequest: pull})
		}
	}
	for range mostPages {
		answer, err := s.ask(ctx, variables)
		if err != nil {
			return nil, false, err
		}
		of := answer.Data.Repository
		variables["morePulls"], variables["moreBranches"] = false, false
		if p := of.PullRequests; p != nil {
			recent := true
			for _, pull := range p.Nodes {
				recent = time.Since(pull.UpdatedAt) < lastChanged
				for _, c := range pull.Commits.Nodes {
					add(c.Commit, pull.Number)
				}
			}
			variables["morePulls"], variables["pulls"] = p.PageInfo.HasNextPage && recent, p.PageInfo.EndCursor
		}
		if r := of.Refs; r != nil {
			for _, branch := range r.Nodes {
				for _, c := range branch.Target.History.Nodes {
					add(c, 0)
				}
			}
			variables["moreBranches"], variables["branches"] = r.PageInfo.HasNextPage, r.PageInfo.EndCursor
		}
		if variables["morePulls"] == false && variables["moreBranches"] == false {
			return list, true, nil
		}
	}
	return list, false, nil
}

// ask asks for one page of pull requests and of branches.
func (s *Statuses) ask(ctx context.Context, variables map[string]any) (*pendingAnswer, error) {
	var answer pendingAnswer
	err := retry(ctx, func() error {
		req, err := s.client.NewRequest(ctx, http.MethodPost, graphQL(s.client.BaseURL()),
			map[string]any{"query": pendingQuery, "variables": variables})
		if err != nil {
			return err
		}
		answer = pendingAnswer{}
		_, err = s.client.Do(req, &answer)
		return err
	})
	if err != nil {
		return nil, refused(err, "read commit statuses", "statuses: write")
	}
	var said []string
	for _, e := range answer.Errors {
		said = append(said, e.Message)
	}
	if answer.Data.Repository == nil || len(said) > 0 {
		return nil, &NotAllowedError{fmt.Sprintf("GitHub does not tell the statuses of %s/%s (%s); give the job the "+
			"permissions \"contents: read\", \"pull-requests: write\" and \"statuses: write\"",
			s.owner, s.repo, cmp.Or(strings.Join(said, "; "), "it shows no such repository"))}
	}
	return &answer, nil
}
