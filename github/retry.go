package github

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	gh "github.com/google/go-github/v88/github"
)

// GitHub's REST API has limits of its own, of which its answers tell (a rate that is used up is
// refused with 403), and what is asked for a second time may have to look first what came of the
// first. So what is sent again here is a whole question, not a request; services that need neither
// are asked through internal/pipeline.

// retry asks GitHub until it answers, as often as ctx leaves time for. Before each next try it
// waits for as long as GitHub asks to.
func retry(ctx context.Context, ask func() error) error {
	return atMost(ctx, math.MaxInt, math.MaxInt64, ask)
}

// briefly asks for what somebody waits for: three times, within seconds.
func briefly(ctx context.Context, ask func() error) error {
	return atMost(ctx, 3, 5*time.Second, ask)
}

// atMost asks so many times where the next answer may be another one, and waits no longer than
// that for each.
func atMost(ctx context.Context, tries int, most time.Duration, ask func() error) error {
	for try := 0; ; try++ {
		err := ask()
		wait, ok := again(err, try)
		if !ok || try+1 == tries {
			return err
		}
		if deadline, ok := ctx.Deadline(); wait > most || ok && time.Until(deadline) < wait {
			return fmt.Errorf("GitHub asks to come back in %s, which is too late: %w", wait.Round(time.Second), err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// Busy tells the error of a request that GitHub has not answered now and will another time: that it was
// asked too often, or is unwell. One that never reaches it, or may not see what it asks for, is another.
func Busy(err error) bool {
	var network *url.Error
	_, another := again(err, 0)
	return another && !errors.As(err, &network)
}

// again tells whether a request is worth another try, and after how long
// (docs.github.com, "Rate limits for the REST API").
func again(err error, try int) (time.Duration, bool) {
	var rate *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	var network *url.Error
	backoff := time.Second << min(try, 5)
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &rate):
		return max(time.Until(rate.Rate.Reset.Time), time.Second), true
	case errors.As(err, &abuse):
		if abuse.RetryAfter != nil {
			return *abuse.RetryAfter, true
		}
		return time.Minute, true
	case errors.As(err, &answer):
		if s, err := strconv.Atoi(answer.Response.Header.Get("Retry-After")); err == nil && s >= 0 {
			return time.Duration(s) * time.Second, true
		}
		return backoff, answer.Response.StatusCode >= 500 && try < 5 ||
			answer.Response.StatusCode == http.StatusTooManyRequests
	case errors.As(err, &network):
		return backoff, try < 5 && !errors.Is(err, context.Canceled)
	}
	return 0, false
}
