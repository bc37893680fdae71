package azureml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/org/aml-train/internal/lazyregexp"
)

// The console output of a run, newer and older (azure-ai-ml, constants/_job/job.py,
// JobLogPattern).
var (
	userLog   = lazyregexp.New(`^user_logs/std_log.*\.txt$`)
	legacyLog = lazyregexp.New(`^azureml-logs/[\d]{2}.+\.txt$`)
	sweepLog  = lazyregexp.New(`^azureml-logs/hyperdrive\.txt$`)
)

// streamable lists the console output among a run's logs, the first process first.
func streamable(logs map[string]string) []string {
	var out []string
	for _, pattern := range []*lazyregexp.Regexp{userLog, legacyLog, sweepLog} {
		for name := range logs {
			if pattern.MatchString(name) {
				out = append(out, name)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(natural(a), natural(b)) })
	return out
}

var digits = lazyregexp.New(`\d+`)

// natural pads numbers, so that process 10 comes after process 9.
func natural(s string) string {
	return digits.ReplaceAllStringFunc(s, func(n string) string { return fmt.Sprintf("%09s", n) })
}

// remoteLog reads a log. Whoever wants its end seeks there, and no more is fetched.
type remoteLog struct {
	ctx     context.Context
	c       *connection
	address string
	at      int64
	body    io.ReadCloser
}

func (l *remoteLog) Read(p []byte) (int, error) {
	if l.body == nil {
		res, err := l.c.fetch(l.ctx, l.address, l.at)
		if err != nil {
			return 0, err
		}
		l.body = res.Body
		if res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			l.body.Close()
			l.body = http.NoBody
		}
	}
	n, err := l.body.Read(p)
	l.at += int64(n)
	return n, err
}

// Seek implements io.Seeker; from the end, it asks how long the log is.
func (l *remoteLog) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += l.at
	case io.SeekEnd:
		size, err := l.c.logSize(l.ctx, l.address)
		if err != nil {
			return 0, err
		}
		offset += size
	}
	l.at = offset
	return offset, l.Close()
}

func (l *remoteLog) Close() error {
	if l.body == nil {
		return nil
	}
	defer func() { l.body = nil }()
	return l.body.Close()
}

// logSize asks for the length of a log.
func (c *connection) logSize(ctx context.Context, address string) (int64, error) {
	res, err := c.log(ctx, http.MethodHead, address, 0)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, short(runtime.NewResponseError(res))
	}
	return max(res.ContentLength, 0), nil
}

// log asks for a log, from a byte on. The address holds a SAS, which no error shows.
func (c *connection) log(ctx context.Context, method, address string, from int64) (*http.Response, error) {
	req, err := runtime.NewRequest(ctx, method, address)
	if err != nil {
		return nil, errors.New("the workspace names a file at an address that is none")
	}
	if from > 0 {
		req.Raw().Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	req.Raw().Header.Set("x-ms-version", "2021-12-02")
	runtime.SkipBodyDownload(req)
	res, err := c.signed.Do(req)
	return res, short(err)
}

// fetch returns the rest of a log.
func (c *connection) fetch(ctx context.Context, address string, from int64) (*http.Response, error) {
	res, err := c.log(ctx, http.MethodGet, address, from)
	if err != nil {
		return nil, err
	}
	switch {
	case res.StatusCode == http.StatusOK && from == 0, res.StatusCode == http.StatusPartialContent,
		res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return res, nil
	case res.StatusCode == http.StatusOK: // the whole of it: what is known is passed over
		if _, err := io.CopyN(io.Discard, res.Body, from); err != nil && err != io.EOF {
			res.Body.Close()
			return nil, err
		}
		return res, nil
	}
	defer res.Body.Close()
	return nil, short(runtime.NewResponseError(res))
}
