package local

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
)

// A version manager (pyenv, asdf, mise) puts a script on PATH that looks for the
// interpreter of the folder it is called in, which takes it tenths of a second. What it
// found is noted with what it looked at.

// interpretersDir, in the cache folder, holds what such scripts found.
const interpretersDir = "interpreters"

// versionFiles are where a version manager finds the version of a folder, or of one around
// it (github.com/pyenv/pyenv, "Python version selection"; asdf-vm.com; mise.jdx.dev).
var versionFiles = []string{".python-version", ".tool-versions", "mise.toml", ".mise.toml"}

// interpreter returns the Python that is started by a program, which may be a script.
func interpreter(program string) (string, error) {
	if !isScript(program) {
		return program, nil
	}
	around, err := home.Private(cacheDir(), true)
	if err != nil {
		return "", err
	}
	defer around.Close()
	noted, err := home.Folder(around.Root, interpretersDir, true)
	if err != nil {
		return "", err
	}
	defer noted.Close()
	key := choice(program)
	if text, err := limited.ReadBelow(noted, key, limited.Config); err == nil && filepath.IsAbs(string(text)) {
		if info, err := os.Stat(string(text)); err == nil && info.Mode().IsRegular() {
			return string(text), nil
		}
	}
	out, err := exec.Command(program, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	found := strings.TrimSpace(string(out))
	if !filepath.IsAbs(found) {
		return "", fmt.Errorf("%s says that its interpreter is %q; name it with --python", program, found)
	}
	return found, noted.WriteFile(key, []byte(found), 0o600) // half a name is no file, and asked for again
}

// choice names all that decides which interpreter a version manager's script starts.
func choice(program string) string {
	hash := sha256.New()
	add := func(name string) {
		text, err := limited.Read(name, limited.Config)
		fmt.Fprintf(hash, "%q %q %v\n", name, text, err == nil)
	}
	add(program)
	for _, variable := range os.Environ() {
		for _, prefix := range []string{"PYENV_", "ASDF_", "MISE_"} {
			if strings.HasPrefix(variable, prefix) {
				fmt.Fprintf(hash, "%q\n", variable)
			}
		}
	}
	add(filepath.Join(filepath.Dir(filepath.Dir(program)), "version")) // of pyenv, beside its shims
	if dir, err := os.UserHomeDir(); err == nil {
		add(filepath.Join(dir, ".tool-versions"))
		add(filepath.Join(dir, ".config", "mise", "config.toml"))
	}
	dir, _ := os.Getwd()
	for {
		for _, name := range versionFiles {
			add(filepath.Join(dir, name))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return hex.EncodeToString(hash.Sum(nil)[:10])
		}
		dir = parent
	}
}

func isScript(name string) bool {
	f, err := limited.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var start [2]byte
	n, _ := f.Read(start[:])
	return n == 2 && string(start[:]) == "#!"
}
