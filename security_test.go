package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each test that docs/security.md names is there: what no test tries is no promise. So are those that
// other pages name.
func TestSecurityIsTested(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && at != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(at, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(at)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	}))
	named, quoted := 0, regexp.MustCompile("`((?:Test|Fuzz)\\w+)`|`([\\w/]+\\.txt)`")
	for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
		if named++; m[1] != "" {
			require.True(t, tests[m[1]], "%s, which docs/security.md names, is no test", m[1])
			continue
		}
		require.FileExists(t, filepath.Join("testdata/script", m[2]), "docs/security.md names it")
	}
	require.Greater(t, named, 150)

	for _, page := range []string{"docs/architecture.md", "docs/layouts.md", "docs/performance.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			require.True(t, m[1] == "" || tests[m[1]], "%s, which %s names, is no test", m[1], page)
		}
	}
}
