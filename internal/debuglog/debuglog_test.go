package debuglog_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/testing/testenv"
)

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestNoSecret makes requests that hold a secret at one of the places for them: in the
// user or password of an address, in its query, whatever its name is, in a header, in the
// body, and in the answer's header, body or error. No line has it.
func TestNoSecret(t *testing.T) {
	defer debuglog.To(nil)
	for seed := range testenv.Cases(3000) {
		random := rand.New(rand.NewPCG(uint64(seed), 16))
		secret := fmt.Sprintf("s3cr3t/%x+=%x", random.Uint64(), random.Uint64())
		name := []string{"sig", "token", "code", "access_token", "x", "api_version", "pages", "se"}[random.IntN(8)]
		address := url.URL{Scheme: "https", Host: "example.com", Path: "/a/b", RawQuery: "api-version=1&comp=list"}
		header, body := http.Header{}, ""
		res := &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{},
			Body: io.NopCloser(strings.NewReader(""))}
		var failed error
		switch random.IntN(9) {
		case 0:
			address.User = url.UserPassword("user", secret)
		case 1:
			address.User = url.User(secret)
		case 2:
			address.RawQuery += "&" + name + "=" + url.QueryEscape(secret)
		case 3:
			address.RawQuery = url.QueryEscape(secret)
		case 4:
			header.Set([]string{"Authorization", "x-ms-copy-source", "Cookie", "X-Api-Key"}[random.IntN(4)],
				"Bearer "+secret)
		case 5:
			body = secret
		case 6:
			res.Header.Set([]string{"Location", "Set-Cookie", "WWW-Authenticate"}[random.IntN(3)],
				"https://x/?sig="+secret)
		case 7:
			failed = &url.Error{Op: "Get", URL: "https://x/?sig=" + secret, Err: errors.New("no route to host")}
		case 8:
			address.Fragment = secret
		}
		var out bytes.Buffer
		debuglog.To(&out)
		rt := debuglog.Transport(answers(func(*http.Request) (*http.Response, error) { return res, failed }))
		r, err := http.NewRequest("PUT", "https://example.com", strings.NewReader(body))
		require.NoError(t, err)
		r.URL, r.Header = &address, header
		_, err = rt.RoundTrip(r)
		require.Equal(t, failed != nil, err != nil)
		require.Contains(t, out.String(), "PUT https://example.com/a/b")
		require.Equal(t, 1, strings.Count(out.String(), "\n"))
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), secret[:14],
			base64.StdEncoding.EncodeToString([]byte(secret))} {
			require.NotContains(t, out.String(), form, "seed %d", seed)
		}
	}
}

func TestLines(t *testing.T) {
	defer debuglog.To(nil)
	debuglog.Step(time.Now(), "nobody asked")
	var out bytes.Buffer
	debuglog.To(&out)
	debuglog.Step(time.Now().Add(-1500*time.Millisecond), "one\ntwo %d", 3)
	require.Regexp(t, `^debug:   15\d\d\.\d ms  one two 3\n$`, out.String())
	u, err := url.Parse("https://me:pw@h.example/p%20q?api-version=2024&sig=abc&page=2&loose&=x#f")
	require.NoError(t, err)
	require.Equal(t, "https://h.example/p%20q?api-version=2024&sig=...&page=2&...&=...", debuglog.Address(u))
}
