package job

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func packages(t *testing.T, files map[string]string, environment string) (*Packages, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	e := environmentReference(environment)
	return (&Job{Dir: dir, Environment: &e}).Packages()
}

// TestRequirements reads files as pip does (pip.pypa.io, "Requirements File Format").
func TestRequirements(t *testing.T) {
	files := map[string]string{
		"r.txt": "\xef\xbb\xbfnumpy==2.0 # pinned\r\n\n# nothing\n-r sub/base.txt\n--constraint=c.txt\n" +
			"torch \\\n  >=2 ; python_version > '3.8'\nx @ https://example.com/x.whl\n" +
			"git+https://example.com/y.git@v1#egg=y\n--extra-index-url https://example.com/simple\n--pre\n",
		"sub/base.txt": "-rmore.txt\npandas[sql]~=2.1",
		"sub/more.txt": "scipy --hash=sha256:00",
		"c.txt":        "urllib3<2\n",
	}
	p, err := packages(t, files, "pip:r.txt")
	require.NoError(t, err)
	require.Equal(t, &Packages{
		Pip: "numpy==2.0\nscipy --hash=sha256:00\npandas[sql]~=2.1\ntorch    >=2 ; python_version > '3.8'\n" +
			"x @ https://example.com/x.whl\n" +
			"git+https://example.com/y.git@v1#egg=y\n--extra-index-url https://example.com/simple\n--pre\n",
		Constraints: "urllib3<2\n",
	}, p)
}

// TestRequirementsRefused are lines whose packages can change while the file does not, and
// files that lead out of the repository.
func TestRequirementsRefused(t *testing.T) {
	for line, why := range map[string]string{
		"-e .": "working tree", "--editable=./src": "working tree", ".": "this machine", "./pkg": "this machine",
		"../pkg[extra]": "this machine", "/opt/pkg": "this machine", "~/pkg": "this machine", "pkg/sub": "this machine",
		"pkg-1.0-py3-none-any.whl": "this machine", "pkg.tar.gz": "this machine", "file:///tmp/x.whl": "this machine",
		"x @ file:///tmp/x.whl": "this machine", "x[a] @ ./x": "this machine", "-f wheels": "a server",
		"--find-links=/srv/wheels": "a server", "--index-url file:///srv": "a server",
		"-r https://example.com/r.txt": "elsewhere", "-r missing.txt": "no such file", "-r r.txt": "names itself",
		"-r ../outside.txt": "out of", "-c /etc/hostname": "no such file",
	} {
		_, err := packages(t, map[string]string{"r.txt": "numpy\n" + line + "\n"}, "pip:r.txt")
		require.ErrorContains(t, err, why, line)
	}
}

// TestConda puts the requirements that a conda file names into it.
func TestConda(t *testing.T) {
	p, err := packages(t, map[string]string{
		"c.yml": "name: mine\nchannels: [conda-forge]\ndependencies:\n- python=3.11\n- pip:\n  - -r r.txt\n" +
			"  - requests\n", "r.txt": "numpy\npandas\n",
	}, "conda:c.yml")
	require.NoError(t, err)
	require.YAMLEq(t, "channels: [conda-forge]\ndependencies: ['python=3.11', {pip: [numpy, pandas, requests]}]",
		p.Conda)
	_, err = packages(t, map[string]string{"c.yml": "[a]"}, "conda:c.yml")
	require.ErrorContains(t, err, "a mapping with dependencies")
}
