package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArchitecture compares docs/architecture.md with the code: the packages that there
// are, the question that each one's comment starts with, and what each may import.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	require.NoError(t, err)
	type row struct {
		question string
		knows    []string
	}
	rows := map[string]row{}
	code := regexp.MustCompile("`([a-z/]+)`")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\| ([^|]*\\?) \\| ([^|]*) \\|$").FindAllStringSubmatch(
		string(text), -1) {
		r := row{question: m[2]}
		for _, name := range code.FindAllStringSubmatch(m[3], -1) {
			r.knows = append(r.knows, name[1])
		}
		rows[m[1]] = r
	}

	plumbing := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(internal/[a-z/]+)` \\| ([^|]*\\?) \\|$").FindAllStringSubmatch(
		string(text), -1) {
		plumbing[m[1]] = m[2]
	}

	const module = "github.com/org/aml-train/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...").Output()
	require.NoError(t, err)
	found := 0
	for list := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Doc string
			Imports         []string
		}
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		var knows []string
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, module); ours && !strings.HasPrefix(i, "internal/") {
				knows = append(knows, i)
			}
		}
		if strings.HasPrefix(name, "internal/") {
			require.NotEmpty(t, plumbing[name], "docs/architecture.md has no row for %s", name)
			require.Contains(t, strings.ReplaceAll(p.Doc, "\n", " "), "answers: "+plumbing[name], name)
			delete(plumbing, name)
		}
		switch {
		case strings.HasPrefix(name, "internal/testing/"):
		case strings.HasPrefix(name, "internal/"):
			require.Empty(t, knows, "%s is plumbing", name)
		case p.ImportPath+"/" != module && !strings.HasPrefix(name, "examples") &&
			p.ImportPath != strings.TrimSuffix(module, "/"):
			found++
			r, ok := rows[name]
			require.True(t, ok, "docs/architecture.md has no row for %s", name)
			slices.Sort(r.knows)
			slices.Sort(knows)
			require.Equal(t, r.knows, knows, "what %s imports", name)
			require.Contains(t, strings.ReplaceAll(p.Doc, "\n", " "), "answers: "+r.question, name)
		}
	}
	require.Equal(t, len(rows), found, "packages, and rows of docs/architecture.md")
	require.Empty(t, plumbing, "rows of docs/architecture.md without a package")
}

// TestStart holds what each of our packages does before the program has looked at its
// arguments to 64 kB of memory: a regular expression that repeats a class of
// characters 255 times took ten megabytes, and more time than git status takes as a whole; the
// others together took as long as the rest of the start (lazyregexp).
func TestStart(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	found := regexp.MustCompile(`(?m)^init (github\.com/org/aml-train/\S+) @.* (\d+) bytes,`).FindAllStringSubmatch(
		string(out), -1)
	require.NotEmpty(t, found, string(out))
	for _, m := range found {
		if strings.Contains(m[1], "/internal/testing/") {
			continue // not in the program
		}
		bytes, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		require.Less(t, bytes, 64<<10, m[1])
	}
}
