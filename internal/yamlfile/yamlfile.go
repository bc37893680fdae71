// Package yamlfile answers: how is YAML read that somebody else wrote?
//
// Its lexer takes time and memory with the square of the lines of a text, its parser with
// that of how deep a file is nested, and of its tags, anchors, keys and documents: 100 kB
// of "[" take gigabytes. So lines and then tokens are counted first, and what no file that
// people write comes near to is refused.
package yamlfile

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a file may have at most. Job files of hundreds of lines have a tenth of it.
const (
	maxDepth = 50     // of brackets, and of the "-" and "?" before a value
	maxMarks = 200    // tags, anchors, aliases and directives
	maxKeys  = 2_000  // of mappings
	maxAll   = 50_000 // tokens
	maxDocs  = 20
	maxLines = 4_000
)

// LimitError says what a file has too much of, and where.
type LimitError struct {
	Line, Column int // from 1
	Message      string
}

func (e *LimitError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Parse reads YAML. A key that stands twice in a mapping is no error here. The error is a
// *LimitError, or one of goccy/go-yaml's.
func Parse(text []byte) (f *ast.File, err error) {
	// A panic of the parser, should there be one, does not end the program.
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, fmt.Errorf("the file cannot be parsed: %v", r)
		}
	}()
	if n := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")); n > 2*maxLines ||
		n-bytes.Count(text, []byte("\r\n")) > maxLines {
		return nil, &LimitError{maxLines, 1, fmt.Sprintf("the file has too many lines; %d are the most", maxLines)}
	}
	tokens := lexer.Tokenize(string(text))
	if err := count(tokens); err != nil {
		return nil, err
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// DecodeData is Parse into a Go value of which nobody knows what else the file has. What
// one value makes of another is refused: it may stand for any number of them.
func DecodeData(text []byte, v any) error {
	f, err := Parse(text)
	if err != nil {
		return err
	}
	if alias := ast.FilterFile(ast.AliasType, f); len(alias) > 0 {
		at := alias[0].GetToken().Position
		return &LimitError{at.Line, at.Column, "the file has an alias; write the value itself"}
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return nil
	}
	return yaml.NodeToValue(f.Docs[0].Body, v)
}

func count(tokens token.Tokens) error {
	var open, before, line, marks, keys, docs int
	for i, t := range tokens {
		at := t.Position
		if at == nil {
			continue
		}
		if at.Line != line {
			line, before = at.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open = max(open-1, 0)
		case token.SequenceEntryType:
			before++
		case token.MappingKeyType:
			before, keys = before+1, keys+1
		case token.TagType, token.AnchorType, token.AliasType, token.DirectiveType:
			marks++
		case token.MappingValueType:
			keys++
		case token.DocumentHeaderType, token.DocumentEndType:
			docs++
		}
		over := ""
		switch {
		case open > maxDepth || before > maxDepth:
			over = fmt.Sprintf("the file is nested too deeply; %d levels are the most", maxDepth)
		case marks > maxMarks:
			over = fmt.Sprintf("the file has too many tags, anchors and aliases; %d are the most", maxMarks)
		case keys > maxKeys:
			over = fmt.Sprintf("the file has too many keys; %d are the most", maxKeys)
		case docs > maxDocs:
			over = fmt.Sprintf("the file has too many documents; %d are the most", maxDocs)
		case i >= maxAll:
			over = fmt.Sprintf("the file has too many values; %d words and marks are the most", maxAll)
		}
		if over != "" {
			return &LimitError{at.Line, at.Column, over}
		}
	}
	return nil
}
