package submit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/org/aml-train/internal/debuglog"
)

// Secure is the client that fetches data. A server that it is told of must not lead it to
// one without a certificate: that of a cloud's metadata, say, or one on this machine, which
// a run in a container is kept from.
var Secure = &http.Client{Transport: debuglog.Transport(http.DefaultTransport), CheckRedirect: noPlainRedirect}

func noPlainRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case next.URL.Scheme != "https":
		return fmt.Errorf("it leads to %s, an address without https", next.URL.Redacted())
	case len(before) >= 10:
		return errors.New("it leads on and on")
	}
	return nil
}

// versionWithin is how long a server may take to say which version it has.
const versionWithin = 30 * time.Second

// ETag asks a server which version of a file it has (RFC 9110, "ETag"). A weak one
// does not promise the same bytes, and is none. GET is what fetches the file as well:
// an address that is signed may be so for that alone.
func ETag(ctx context.Context, client *http.Client, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept-Encoding", "identity") // a compressed one has another
	res, err := client.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // its text holds the whole address
		}
		return "", err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server answered %s", res.Status)
	}
	switch tag := res.Header.Get("ETag"); {
	case tag == "":
		return "", errors.New("the server names no version of it (no ETag)")
	case strings.HasPrefix(tag, "W/"):
		return "", errors.New("the server names a version of it only roughly (a weak ETag)")
	default:
		return tag, nil
	}
}

// Fetched notes the version of an input that is fetched over https.
func (v *Versions) Fetched(ctx context.Context, client *http.Client, name, address string) {
	shown, _, _ := strings.Cut(address, "?") // a signature is a secret
	tag, err := ETag(ctx, client, address)
	if err != nil {
		v.Lacks("inputs.%s, %s, has no version: %v", name, shown, err)
		return
	}
	if v.ETags == nil {
		v.ETags = map[string]string{}
	}
	v.Inputs[name], v.ETags[name] = tag, tag
}
