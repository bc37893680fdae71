package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// sources parses the project's Go files, by the folder that they lie in.
func sources(t *testing.T) (*token.FileSet, map[string][]*ast.File) {
	set, folders := token.NewFileSet(), map[string][]*ast.File{}
	require.NoError(t, filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && base != "." && (strings.HasPrefix(base, ".") || base == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		folders[filepath.Dir(name)] = append(folders[filepath.Dir(name)], file)
		return err
	}))
	require.Greater(t, len(folders), 20)
	return set, folders
}

// TestGoroutines looks for what ends a test in a goroutine that is not the test's own: the
// handler of a server, what go starts, and what a group does. There, FailNow ends that
// goroutine alone, and the test goes on, or hangs (testing.T, "FailNow").
func TestGoroutines(t *testing.T) {
	set, folders := sources(t)
	for _, files := range folders {
		ending := endingFunctions(files)
		for _, file := range files {
			for _, at := range elsewhere(file, ending) {
				t.Errorf("%s: this ends a test in another goroutine: use assert, or t.Error and return",
					set.Position(at))
			}
		}
	}
}

// TestLines holds every line to 120 columns, a tab counted as four, raw strings aside.
func TestLines(t *testing.T) {
	set, folders := sources(t)
	var long []string
	for _, files := range folders {
		for _, file := range files {
			long = append(long, longLines(t, set, file)...)
		}
	}
	require.Empty(t, long, strings.Join(long, "\n"))
}

func longLines(t *testing.T, set *token.FileSet, file *ast.File) (list []string) {
	raw := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Value[0] == '`' {
			for line := set.Position(s.Pos()).Line; line <= set.Position(s.End()).Line; line++ {
				raw[line] = true
			}
		}
		return true
	})
	name := set.Position(file.Pos()).Filename
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	for i, line := range strings.Split(string(text), "\n") {
		width := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
		if width > 120 && !raw[i+1] {
			list = append(list, fmt.Sprintf("%s:%d: %d columns", name, i+1, width))
		}
	}
	return list
}

// The check finds each way to do it.
func TestGoroutinesFinds(t *testing.T) {
	const text = `package p
func helper(t *testing.T) { require.True(t, false) }
func deep(t *testing.T) { helper(t) }
func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) { require.True(d.t, false) }
func Test(t *testing.T) {
	require.NoError(t, nil)
	http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { require.NoError(t, nil); t.Error(1); assert.True(t, false) })
	g.Seen = func(r *http.Request, body []byte) { if true { t.Fatalf("x") } }
	go func() { t.FailNow() }()
	group.Go(func() error { deep(t); return nil })
	go helper(t)
	t.Run("", func(t *testing.T) { require.True(t, false) })
	func() { t.Fatal(1) }()
}`
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", text, parser.SkipObjectResolution)
	require.NoError(t, err)
	var lines []int
	for _, at := range elsewhere(file, endingFunctions([]*ast.File{file})) {
		lines = append(lines, set.Position(at).Line)
	}
	require.Equal(t, []int{4, 7, 8, 9, 10, 11}, lines)
}

// ends are the methods that end the goroutine of a test, or of a test script.
var ends = map[string]bool{"Fatal": true, "Fatalf": true, "FailNow": true, "Skip": true, "Skipf": true,
	"SkipNow": true, "Check": true}

// ending tells whether a call ends a test; functions are those that do.
func ending(call *ast.CallExpr, functions map[string]bool) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return functions[f.Name]
	case *ast.SelectorExpr:
		switch x := f.X.(type) {
		case *ast.Ident:
			return x.Name == "require" || ends[f.Sel.Name] && (x.Name == "t" || x.Name == "b" || x.Name == "ts" ||
				x.Name == "tb")
		case *ast.SelectorExpr:
			return ends[f.Sel.Name] && x.Sel.Name == "t"
		}
	}
	return false
}

// endingFunctions are the functions that end a test, by themselves or by what they call.
func endingFunctions(files []*ast.File) map[string]bool {
	found := map[string]bool{}
	for more := true; more; {
		more = false
		for _, file := range files {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Recv != nil || f.Body == nil || found[f.Name.Name] {
					continue
				}
				ast.Inspect(f.Body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if ok && ending(call, found) {
						found[f.Name.Name], more = true, true
					}
					return true
				})
			}
		}
	}
	return found
}

// elsewhere are the calls that end a test in a goroutine that is not the test's.
func elsewhere(file *ast.File, functions map[string]bool) (list []token.Pos) {
	look := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && ending(call, functions) {
				list = append(list, call.Pos())
			}
			return true
		})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if handles(n.Type) && n.Body != nil {
				look(n.Body)
				return false
			}
		case *ast.FuncLit:
			if handles(n.Type) {
				look(n.Body)
				return false
			}
		case *ast.GoStmt:
			look(n.Call)
			return false
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Go" {
				for _, arg := range n.Args {
					look(arg)
				}
				return false
			}
		}
		return true
	})
	return list
}

// handles tells whether a function is given a request.
func handles(f *ast.FuncType) bool {
	for _, p := range f.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if of, ok := star.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Request" {
				return true
			}
		}
	}
	return false
}

// TestSizes holds the program's functions to 60 lines and its files to 500: a longer one does two
// things. Tests and what they stand on may have longer tables.
func TestSizes(t *testing.T) {
	set, folders := sources(t)
	var long []string
	for folder, files := range folders {
		if strings.HasPrefix(filepath.ToSlash(folder), "internal/testing") {
			continue
		}
		for _, file := range files {
			name := set.Position(file.Pos()).Filename
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if n := set.Position(file.FileEnd).Line; n > 500 {
				long = append(long, fmt.Sprintf("%s: %d lines", name, n))
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > 60 {
					long = append(long, fmt.Sprintf("%s: %s has %d lines", set.Position(f.Pos()), f.Name.Name, n))
				}
			}
		}
	}
	require.Empty(t, long, strings.Join(long, "\n"))
}
