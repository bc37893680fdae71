package git

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/limited"
)

// excludeFile is where a repository itself says what git ignores in it (gitignore(5)).
const excludeFile = "info/exclude"

// Exclude has git ignore a path of the working tree, slash-separated and relative to its
// root, in this repository alone.
func (r *Repository) Exclude(path string) error {
	root, err := os.OpenRoot(r.CommonDir)
	if err != nil {
		return err
	}
	defer root.Close()
	line := "/" + escapePattern(path) + "\n"
	text, err := limited.ReadFS(root.FS(), excludeFile, limited.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := root.MkdirAll(filepath.Dir(excludeFile), 0o755); err != nil {
			return err
		}
	case err != nil:
		return err
	case len(text) > 0 && text[len(text)-1] != '\n':
		line = "\n" + line
	}
	f, err := root.OpenFile(excludeFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// escapePattern writes a path so that an ignore file takes it literally.
func escapePattern(path string) string {
	path = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
	if rest, ok := strings.CutSuffix(path, " "); ok {
		path = rest + `\ `
	}
	return path
}
