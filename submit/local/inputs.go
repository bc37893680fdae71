package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// resolve turns inputs and outputs into what the command line gets: a literal,
// or an absolute path.
func resolve(ctx context.Context, p *plan, base *os.Root) (map[string]string, error) {
	values := spaceValues(p.Space)
	abs := func(name string) string { return filepath.Join(p.Base, filepath.FromSlash(name)) }
	for name, in := range p.Inputs {
		key := "inputs." + name
		if in.Literal {
			values[key] = in.Value
			continue
		}
		dir := path.Join(inputsDir, name)
		if strings.HasPrefix(in.Path, "https://") {
			file, err := download(ctx, in.Path, in.ETag, base, dir)
			if err != nil {
				return nil, fmt.Errorf("inputs.%s: %w", name, err)
			}
			values[key] = abs(file)
			continue
		}
		if _, err := os.Stat(in.Path); err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", name, err)
		}
		values[key] = in.Path
		if !plainPath.MatchString(in.Path) {
			// A link without blanks stands for it: the value is put into a command
			// line as it is.
			if err := base.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			link := path.Join(dir, safeName(filepath.Base(in.Path)))
			if err := base.Symlink(in.Path, link); err != nil {
				return nil, fmt.Errorf("inputs.%s: %w", name, err)
			}
			values[key] = abs(link)
		}
	}
	for name, out := range p.Outputs {
		at := path.Join(namedDir, name)
		made := at
		if out.Type == job.URIFile {
			made = path.Dir(at)
		}
		if err := base.MkdirAll(made, 0o755); err != nil {
			return nil, err
		}
		values["outputs."+name] = abs(at)
	}
	return values, nil
}

var unsafe = lazyregexp.New(`[^A-Za-z0-9_.=+-]+`)

func safeName(name string) string {
	name = strings.TrimLeft(unsafe.ReplaceAllString(name, "_"), "-")
	if strings.Trim(name, ".") == "" { // .. is the folder above
		return "data"
	}
	return name
}

// download fetches a file over https into the folder dir of base and returns its path
// there. A transfer that breaks is tried again, three times in all.
func download(ctx context.Context, address, etag string, base *os.Root, dir string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	shown := *u
	shown.RawQuery, shown.User = "", nil // a signature is a secret
	if err := base.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := path.Join(dir, safeName(path.Base(u.Path)))
	for try := 1; ; try++ {
		err = fetch(ctx, submit.Secure, address, etag, base, name)
		if err == nil {
			return name, nil
		}
		var final *statusError
		if try == 3 || ctx.Err() != nil || errors.Is(err, errOtherVersion) || errors.As(err, &final) &&
			final.code < 500 && final.code != 429 {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err // its text holds the whole address
			}
			return "", fmt.Errorf("%s: %w", shown.String(), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * time.Second):
		}
	}
}

var errOtherVersion = errors.New("it has changed since the run was submitted; submit it again")

type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return "the server answered " + e.status }

// fetch writes a file that is at an address to base. With an entity tag, it is that
// version or an error.
func fetch(ctx context.Context, client *http.Client, address, etag string, base *os.Root, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if etag != "" {
		req.Header.Set("Accept-Encoding", "identity") // as it was asked for
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &statusError{res.StatusCode, res.Status}
	}
	if etag != "" && res.Header.Get("ETag") != etag {
		return errOtherVersion
	}
	f, err := base.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = fmt.Errorf("the transfer ended after %d of %d bytes", n, res.ContentLength)
	}
	return errors.Join(err, f.Close())
}
