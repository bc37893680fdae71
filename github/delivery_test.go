package github

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/report"
)

// A run ends while its comment looks for what to show. That is looked for to its end, since the
// last report needs it as well, and is not shown: the comment is the last report's. Only who
// interrupts the whole ends it.
func TestFollow(t *testing.T) {
	g, api := gitHubDouble(t)
	for name, ended := range map[string]error{"ended": nil, "interrupted": context.Canceled} {
		synctest.Test(t, func(t *testing.T) {
			d := &Delivery{Step: &Step{Workflow: pushed(api, 1, oldHead)}, Token: githubtest.Workflow, Comments: true}
			require.NotNil(t, d.Comment())
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			found := make(chan bool)
			var seen error
			stop := d.Follow(ctx, func(ctx context.Context) *report.Report {
				select {
				case <-ctx.Done():
				case <-found:
				}
				seen = ctx.Err()
				return &report.Report{}
			})
			stopped := false
			go func() {
				stop()
				stopped = true
			}()
			synctest.Wait()
			require.False(t, stopped, name)
			if ended != nil {
				interrupt()
			} else {
				close(found)
			}
			synctest.Wait()
			require.True(t, stopped, name)
			require.Equal(t, ended, seen, name)
		})
	}
	require.Empty(t, g.Bodies(7, githubtest.Bot))
}
