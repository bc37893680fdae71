package job

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/internal/yamlfile"
)

const (
	maxFile  = 1 << 20 // a job file is a page or two; 1 MiB is no job file
	maxNodes = 100_000 // what aliases may blow a file up to
)

const jobFile = "a job file" // what a document of one is

// value is one node of a YAML document, with aliases and merge keys resolved.
type value struct {
	line, column int
	scalar       any // nil, bool, int64, uint64, *big.Int, float64 or string
	text         string
	keys         []key // of a mapping, in the file's order
	items        []*value
	kind         kind
}

type kind string

const (
	null    kind = "null"
	boolean kind = "a boolean"
	number  kind = "a number"
	str     kind = "a string"
	mapping kind = "a mapping"
	list    kind = "a list"
	date    kind = "a date"
)

type key struct {
	name         string
	line, column int
	value        *value
	merged       bool // from a "<<"
}

// document is a YAML file on its way to a job, with the problems found so far.
type document struct {
	file     string
	what     string // a job file, say
	lines    []string
	problems Problems
	warnings Problems
	nodes    int
	tooMany  bool
	anchors  map[string]*value
	at       map[string]*value // scalars, by what they are: "inputs.data.path"
	keys     map[string]key    // of the file's root
}

func (d *document) report(line, column int, format string, args ...any) {
	d.problems = append(d.problems, d.problem(line, column, fmt.Sprintf(format, args...)))
}

func (d *document) problem(line, column int, message string) Problem {
	p := Problem{File: d.file, Line: line, Column: column, Message: masked(message)}
	if line >= 1 && line <= len(d.lines) {
		p.source = masked(strings.TrimRight(d.lines[line-1], "\r"))
	}
	return p
}

// similarFile is the file meant, beside one that is not there.
func similarFile(path, shown string) string {
	entries, _ := os.ReadDir(filepath.Dir(path)) // of a commit, too: a hint may miss what the working tree lacks
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yml" || ext == ".yaml" || ext == ".runconfig") {
			names = append(names, e.Name())
		}
	}
	if near := suggest.Nearest(filepath.Base(path), names); near != "" {
		return "; did you mean " + filepath.Join(filepath.Dir(shown), near) + "?"
	}
	return ""
}

// open reads a YAML file whose root is a mapping: a regular file of the place, reached
// through links of it at most. On an error the document holds at least one problem and
// the value is nil.
func open(path, shown string, place inside.Place) (*document, *value) {
	d := newDocument(shown, jobFile)
	if strings.HasSuffix(path, ".py") {
		d.report(0, 0, "is a script, not a job file; run it with --script %s", shown)
		return d, nil
	}
	text, err := place.Read(path, maxFile)
	var large *limited.TooLargeError
	var outside *inside.OutsideError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.report(0, 0, "no such file%s", similarFile(path, shown))
		return d, nil
	case errors.Is(err, limited.ErrNotRegular):
		if info, err := place.Stat(path); err == nil && info.IsDir() {
			d.report(0, 0, "is a folder; name the job file in it, such as %s/job.yml", strings.TrimRight(shown, "/"))
		} else {
			d.report(0, 0, "is not a regular file; a job file is one")
		}
		return d, nil
	case errors.As(err, &large):
		is := "too large"
		if info, err := place.Stat(path); err == nil {
			is = size.Format(info.Size())
		}
		d.report(0, 0, "is %s; a job file has at most %s", is, size.Limit(large.Limit))
		return d, nil
	case errors.As(err, &outside) && outside.Into != "":
		d.report(0, 0, "leads into %s, where no job file lies", outside.Into)
		return d, nil
	case errors.As(err, &outside) && outside.Link == "":
		d.report(0, 0, "lies outside the repository")
		return d, nil
	case errors.As(err, &outside):
		d.report(0, 0, "leads out of the repository: %s is a link to %s; name the file itself", outside.Link,
			outside.To)
		return d, nil
	case err != nil:
		d.report(0, 0, "%v", err)
		return d, nil
	}
	root := d.decode(text)
	if root == nil && len(d.problems) == 0 {
		d.report(1, 1, "is empty; the smallest job is \"command: python train.py\" and \"code: .\"")
	}
	return d, root
}

func newDocument(shown, what string) *document {
	return &document{file: shown, what: what, anchors: map[string]*value{}, at: map[string]*value{}}
}

// decode reads a text whose root is a mapping. It returns nil where there is a problem, or
// nothing.
func (d *document) decode(text []byte) *value {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(text, 0) >= 0 {
		d.report(0, 0, "is not a text file; %s is YAML", d.what)
		return nil
	}
	if !utf8.Valid(text) {
		for i, line := range bytes.Split(text, []byte("\n")) {
			if !utf8.Valid(line) {
				d.report(i+1, 1, "is not UTF-8; save the file as UTF-8")
				return nil
			}
		}
	}
	return d.parse(text)
}

func (d *document) parse(text []byte) *value {
	d.lines = strings.Split(string(text), "\n")
	f, err := yamlfile.Parse(text)
	if err != nil {
		var limit *yamlfile.LimitError
		var at yaml.Error
		if errors.As(err, &limit) {
			d.report(limit.Line, limit.Column, "%s", limit.Message)
		} else if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			pos := at.GetToken().Position
			said := at.GetMessage()
			if strings.HasPrefix(said, "found character '\t'") {
				said = "a tab indents this line; indent with spaces"
			}
			d.report(pos.Line, pos.Column, "not valid YAML: %s", said)
		} else {
			d.report(1, 1, "not valid YAML: %v", err)
		}
		return nil
	}
	var root ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			second := d.resolve(doc.Body, 0)
			d.report(second.line, second.column, "%s holds one document; this is the second", d.what)
			return nil
		}
		root = doc.Body
	}
	if root == nil {
		return nil
	}
	v := d.resolve(root, 0)
	if d.tooMany {
		return nil
	}
	if v.kind != mapping {
		key := "job"
		if d.what == jobFile {
			key = "command"
		}
		d.report(v.line, v.column, "holds %s; %s is a mapping of keys such as \"%s:\"", v.kind, d.what, key)
		return nil
	}
	return v
}

func (d *document) resolve(n ast.Node, depth int) *value {
	v := &value{kind: null}
	if n == nil {
		return v
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		v.line, v.column = t.Position.Line, t.Position.Column
	}
	d.nodes++
	if d.nodes > maxNodes || depth > 200 {
		if !d.tooMany {
			d.tooMany = true
			d.report(v.line, v.column, "the file is nested too deeply, or its aliases repeat too much")
		}
		return v
	}
	switch n := n.(type) {
	case *ast.AnchorNode:
		v = d.resolve(n.Value, depth+1)
		d.anchors[n.Name.GetToken().Value] = v
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		to := d.anchors[name]
		if to == nil {
			d.report(v.line, v.column, "no anchor &%s stands before this alias", name)
			return v
		}
		d.nodes += to.count()
		return to
	case *ast.TagNode:
		return d.tag(n, depth)
	case *ast.StringNode, *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode,
		*ast.NanNode:
		d.scalar(v, n)
	case *ast.LiteralNode:
		v.kind, v.scalar, v.text = str, n.Value.Value, n.Value.Value
	case *ast.MappingNode:
		v.kind = mapping
		d.entries(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.kind = mapping
		d.entries(v, []*ast.MappingValueNode{n}, depth)
		if len(v.keys) > 0 {
			v.line, v.column = v.keys[0].line, v.keys[0].column
		}
	case *ast.SequenceNode:
		v.kind = list
		for _, item := range n.Values {
			v.items = append(v.items, d.resolve(item, depth+1))
		}
	default:
		d.report(v.line, v.column, "YAML's %s has no meaning here", n.Type())
	}
	return v
}

func (d *document) scalar(v *value, n ast.Node) {
	if text, plain := scalarText(n); !plain {
		v.kind, v.scalar, v.text = str, text, text
	} else if !v.plainScalar(text) {
		d.report(v.line, v.column, "%q is not a value that YAML 1.1 knows, as Azure ML reads it; put it in quotes",
			text)
	}
}

// scalarText is the text of a scalar, and whether it stands there without quotes.
func scalarText(n ast.Node) (text string, plain bool) {
	t := n.GetToken()
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value, t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType
	}
	if t.Type == token.ImplicitNullType {
		return "", true
	}
	return t.Value, true
}

// tag resolves what stands behind a tag such as !!float.
func (d *document) tag(n *ast.TagNode, depth int) *value {
	v := d.resolve(n.Value, depth+1)
	name := n.GetToken().Value
	switch {
	case v.kind == mapping && name == "!!map", v.kind == list && name == "!!seq":
		return v
	case v.kind == mapping || v.kind == list || !v.tagged(name, v.text):
		d.report(v.line, v.column, "the tag %s does not fit what stands behind it, or Azure ML's client does not "+
			"know it", name)
	}
	return v
}

func (v *value) count() int {
	n := 1
	for _, k := range v.keys {
		n += k.value.count()
	}
	for _, i := range v.items {
		n += i.count()
	}
	return n
}

func (d *document) entries(v *value, nodes []*ast.MappingValueNode, depth int) {
	var merges []*value
	for _, n := range nodes {
		if n.Key.IsMergeKey() {
			merges = append(merges, d.resolve(n.Value, depth+1))
			continue
		}
		t := n.Key.GetToken()
		k := key{name: t.Value, line: t.Position.Line, column: t.Position.Column}
		if s, ok := n.Key.(*ast.StringNode); ok {
			k.name = s.Value
		}
		if old := v.get(k.name); old != nil {
			d.report(k.line, k.column, "the key %q stands here for the second time; the first is on line %d", k.name,
				old.line)
		}
		k.value = d.resolve(n.Value, depth+1)
		if k.value.line == 0 {
			k.value.line, k.value.column = k.line, k.column
		}
		v.keys = append(v.keys, k)
	}
	for _, m := range merges {
		sources := m.items
		if m.kind == mapping {
			sources = []*value{m}
		}
		for _, s := range sources {
			for _, k := range s.keys {
				if v.get(k.name) == nil {
					k.merged = true
					v.keys = append(v.keys, k)
				}
			}
		}
	}
}

func (v *value) get(name string) *key {
	for i := range v.keys {
		if v.keys[i].name == name {
			return &v.keys[i]
		}
	}
	return nil
}

// plain turns a value into what encoding/json writes.
func (v *value) plain() any {
	switch v.kind {
	case mapping:
		m := make(map[string]any, len(v.keys))
		for _, k := range v.keys {
			m[k.name] = k.value.plain()
		}
		return m
	case list:
		l := make([]any, len(v.items))
		for i, item := range v.items {
			l[i] = item.plain()
		}
		return l
	}
	return v.scalar
}
