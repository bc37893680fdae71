package gitmeta

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

func TestStripCredentialsOfEveryForm(t *testing.T) {
	for raw, want := range map[string]string{
		"ext::https://u:S3CRET@h/p":               "ext::https://h/p",
		"ext::sh -c 'curl -u u:S3CRET https://h'": "ext::",
		"u:S3CRET@h:p":                            "u@h:p",
		"u:S3CRET@h/p":                            "h/p",
		"S3CRET@h/p":                              "h/p",
		"//u:S3CRET@h/p":                          "//h/p",
		"https://h/p#S3CRET":                      "https://h/p",
		"https://h/p?token=S3CRET":                "https://h/p",
		"ssh://git@h/p?token=S3CRET":              "ssh://git@h/p",
		"git@h:p?token=S3CRET":                    "git@h:p",
		"git+https://S3CRET@h/p":                  "git+https://h/p",
		"https://u:S3CRET/x@h/p":                  "https://",
		"https://u:S3CRET?x@h/p":                  "https://",
		"https://proxy/https://u:S3CRET@h/p":      "https://proxy/https:/h/p",
		"url=https://u:S3CRET@h/p":                "",
		" https://u:S3CRET@h/p":                   "https://h/p",
		"https://h/org/x@v1":                      "https://h/org/x@v1",
		"https://[::1]:8443/p":                    "https://[::1]:8443/p",
		"git@h:org/x@v1":                          "git@h:org/x@v1",
		"h:org/x.git":                             "h:org/x.git",
		"/srv/c#/x.git":                           "/srv/c#/x.git",
		"file:///srv/x.git":                       "file:///srv/x.git",
	} {
		require.Equal(t, want, StripCredentials(raw), raw)
	}
}

// Whatever an address is made of, a secret where one can stand never survives, and
// what is left loses nothing more when it is stripped again.
func TestStripCredentialsOfRandomURLs(t *testing.T) {
	seed := testenv.Seed()
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	for range testenv.Cases(20000) {
		secret := pick("", "a", "x@", "x:", "%40") + "S3CRET" + pick("", "@x", ":x", "%2F", "!", "\n")
		if r.IntN(4) == 0 { // one that breaks an address
			secret = pick("S3CRET/x", "S3CRET?x", "S3CRET#x", "x/S3CRET")
		}
		prefix := pick("", "", "ext::", "gcrypt::", " ") +
			pick("https://", "http://", "HTTPS://", "ssh://", "git+https://", "ftp://", "//", "")
		host, path := pick("h", "example.com", "[::1]", "10.0.0.1"), pick("", "org/x.git", "a/b@c", "x~y")
		sep := pick("/", ":8443/")
		if !strings.Contains(prefix, "//") {
			sep = pick("/", ":")
		}
		var raw string
		switch r.IntN(4) {
		case 0:
			raw = prefix + "u:" + secret + "@" + host + sep + path
		case 1:
			raw = prefix + pick("", "u@", "u:p@") + host + sep + path + pick("?", "#", "?a=b&token=", "?x#") + secret
		case 2:
			secret = strings.NewReplacer("/", "", "?", "", "#", "").Replace(secret)
			raw = "https://" + pick("h", "h:80") + "/" + pick("", "x/") + "https://u:" + secret + "@h/p"
		default:
			raw = "ext::" + pick("sh -c ", "curl -u u:", "") + secret + pick(" %S", "", " https://h")
		}
		got := StripCredentials(raw)
		require.NotContains(t, got, "S3CRET", "seed %d: %q", seed, raw)
		require.Equal(t, got, StripCredentials(got), "seed %d: %q", seed, raw)
	}
}
