package gitmeta

import (
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git"
)

// MostAncestors is how many commits are looked through for one that has a run.
const MostAncestors = 20_000

// Ancestors are the commits that one is built on, by their ids, with how many commits each is
// away, itself with 0; nil where the repository does not have it.
func Ancestors(repo *git.Repository, commit string) map[string]int {
	found, err := repo.Ancestors(plumbing.NewHash(commit), MostAncestors)
	if err != nil {
		return nil
	}
	away := make(map[string]int, len(found))
	for id, n := range found {
		away[id.String()] = n
	}
	return away
}
