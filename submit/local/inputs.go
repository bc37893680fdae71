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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/pipeline"
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
// there. A transfer that breaks is tried again.
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
	if err := fetch(ctx, submit.Secure, address, etag, base, name); err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // its text holds the whole address
		}
		return "", fmt.Errorf("%s: %w", shown.String(), err)
	}
	return name, nil
}

// otherVersion is the error of a file that is another one than was asked for.
type otherVersion struct{}

func (otherVersion) Error() string {
	return "it has changed since the run was submitted; submit it again"
}

// NonRetriable tells azcore's retry policy.
func (otherVersion) NonRetriable() {}

// fetch writes a file that is at an address to base. With an entity tag, it is that
// version or an error.
func fetch(ctx context.Context, client *http.Client, address, etag string, base *os.Root, name string) error {
	req, err := runtime.NewRequest(ctx, http.MethodGet, address)
	if err != nil {
		return err
	}
	if etag != "" {
		req.Raw().Header.Set("Accept-Encoding", "identity") // as it was asked for
	}
	runtime.SkipBodyDownload(req)
	write := pipeline.Policy(func(req *policy.Request) (*http.Response, error) { // a broken transfer is sent again
		res, err := req.Next()
		if err != nil || res.StatusCode != http.StatusOK {
			return res, err
		}
		defer res.Body.Close()
		if etag != "" && res.Header.Get("ETag") != etag {
			return nil, otherVersion{}
		}
		if err := writeBody(base, name, res); err != nil {
			return nil, err
		}
		return res, nil
	})
	res, err := pipeline.New(pipeline.Options(pipeline.Retries(2, time.Minute), client), write).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", res.Status)
	}
	return nil
}

func writeBody(base *os.Root, name string, res *http.Response) error {
	f, err := base.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = fmt.Errorf("the transfer ended after %d of %d bytes", n, res.ContentLength)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		base.Remove(name)
	}
	return err
}
