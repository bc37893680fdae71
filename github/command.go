package github

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"

	"github.com/org/aml-train/internal/lazyregexp"
)

// Command is what a line of a comment asks for:
//
//	/train
//	/train COMMIT NAME=VALUE...
//
// The first asks what would train, the second that it does.
type Command struct {
	Commit string   // 40 hexadecimal digits; "" where none is named
	Inputs []string // of the job, NAME=VALUE
}

// Line is the line that asks for it.
func (c Command) Line() string {
	words := append([]string{verb}, c.Inputs...)
	if c.Commit != "" {
		words = append([]string{verb, c.Commit}, c.Inputs...)
	}
	return strings.Join(words, " ")
}

// verb is what a line that asks begins with.
const verb = "/train"

// CommandError says what is wrong with a line that asks for training.
type CommandError struct{ Reason string }

func (e *CommandError) Error() string { return e.Reason }

func wrongCommand(format string, args ...any) error {
	return &CommandError{fmt.Sprintf(format, args...)}
}

// ParseCommand finds the line of a comment that asks for training; it returns nil where none
// does. The comment is read as GitHub shows it (github.github.com/gfm): the line is one that
// its readers see as text of its author's own, from the first character of a line on. In a quote,
// a list, a block of code, a comment of HTML or the definition of a link it asks for nothing. The
// error is a *CommandError, where it is not sure or not clear what is asked for.
func ParseCommand(body string) (*Command, error) {
	body = strings.TrimPrefix(lineEnds.Replace(body), "\ufeff")   // a mark of the byte order is none of it
	if !strings.Contains(body, verb) || first.MatchString(body) { // what this program writes asks for nothing
		return nil, nil
	}
	source := []byte(body)
	doc := markdown().Parse(text.NewReader(source))
	var found []string
	unsure := false
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		if p, ok := n.(*ast.Paragraph); ok {
			lines := asking(p, source)
			found = append(found, lines...)
			unsure = unsure || len(lines) > 0 && !plainText(p, source)
		}
	}
	switch {
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		return nil, wrongCommand("the comment has several lines that begin with %s; one comment asks for one thing",
			verb)
	case hasHTML(doc, source):
		return nil, wrongCommand("the comment has HTML, and with that nobody can be sure that its readers see the "+
			"line %s; write the line into a comment of its own", verb)
	case unsure, strings.Contains(body, "[^"), // a footnote takes what follows it
		strings.Count(body, "$$") > 1: // as a formula does
		return nil, wrongCommand("the line %s stands in a paragraph with code, links or the like, right below "+
			"something else, or beside footnotes or formulas; put a blank line before and after it", verb)
	}
	return parseLine(found[0])
}

// markdown reads CommonMark. What GitHub has besides is refused where it could hide the line: the
// package with those extensions costs each start of the program more than the rest of this one.
func markdown() parser.Parser {
	return parser.NewParser(parser.WithBlockParsers(parser.DefaultBlockParsers()...),
		parser.WithInlineParsers(parser.DefaultInlineParsers()...),
		parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...))
}

// lineEnds are those of Markdown: a carriage return is one, too.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// asking returns the lines of a paragraph that begin as one that asks does.
func asking(p *ast.Paragraph, source []byte) (found []string) {
	for i := range p.Lines().Len() {
		at := p.Lines().At(i)
		if at.Start > 0 && source[at.Start-1] != '\n' {
			continue // it is indented
		}
		line := strings.TrimRight(string(source[at.Start:at.Stop]), " \t\n")
		rest, ok := strings.CutPrefix(line, verb)
		if ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t' || rest[0] > '~') {
			found = append(found, line)
		}
	}
	return found
}

// plainText tells whether a paragraph is text and nothing else: a span of code, a tag or a link
// may begin in one line and end in another. GitHub sees addresses, tables and formulas besides; in
// one of those a line may have no colour.
func plainText(p *ast.Paragraph, source []byte) bool {
	raw := p.Lines().Value(source)
	if bytes.Contains(raw, []byte("://")) || bytes.ContainsRune(raw, '|') ||
		bytes.Count(raw, []byte("$")) > 1 {
		return false
	}
	first := p.Lines().At(0).Start
	above := source[:max(first-1, 0)]
	above = above[bytes.LastIndexByte(above, '\n')+1:]
	if first > 0 && source[first-1] != '\n' || len(bytes.TrimSpace(above)) > 0 {
		return false // it may be part of what stands above
	}
	for n := p.FirstChild(); n != nil; n = n.NextSibling() {
		if n.Kind() != ast.KindText {
			return false
		}
	}
	return true
}

// htmlComments are whole ones.
var htmlComments = lazyregexp.New(`(?s)<!--.*?-->`)

// hasHTML tells whether a comment has any but whole comments of HTML: a tag may be about all that
// follows it.
func hasHTML(doc ast.Node, source []byte) (found bool) {
	ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		var raw []byte
		switch n := n.(type) {
		case *ast.HTMLBlock:
			raw = n.Lines().Value(source)
			if n.HasClosure() {
				raw = append(raw, n.ClosureLine.Value(source)...)
			}
		case *ast.RawHTML:
			raw = n.Segments.Value(source)
		}
		found = found || strings.TrimSpace(htmlComments.ReplaceAllString(string(raw), "")) != ""
		return ast.WalkContinue, nil
	})
	return found
}

// longestLine is the most characters of a line that asks.
const longestLine = 1000

var (
	wholeCommit = lazyregexp.New(`^[0-9a-fA-F]{40}$`)
	partCommit  = lazyregexp.New(`^[0-9a-fA-F]{4,39}$`)
	inputWord   = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*=`)
)

// inLine are the characters that such a line takes: those that mean nothing to a shell either.
const inLine = " \t_./:@%+=,-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// parseLine reads a line that begins with the verb.
func parseLine(line string) (*Command, error) {
	if len(line) > longestLine {
		return nil, wrongCommand("the line %s has more than %d characters", verb, longestLine)
	}
	for _, r := range line {
		if r > '~' {
			return nil, wrongCommand("the line %s has the character %+q, which is not one of ASCII: what looks like a "+
				"letter or a digit may be another one", verb, r)
		}
		if !strings.ContainsRune(inLine, r) {
			return nil, wrongCommand("the line %s has the character %+q, which Markdown or a shell may interpret; it "+
				"takes letters, digits and _ . / : @ %% + = , -", verb, r)
		}
	}
	var c Command
	named := map[string]bool{}
	for i, word := range strings.Fields(line)[1:] {
		name := strings.TrimSuffix(inputWord.FindString(word), "=")
		switch {
		case i == 0 && wholeCommit.MatchString(word):
			c.Commit = strings.ToLower(word)
		case i == 0 && partCommit.MatchString(word):
			return nil, wrongCommand("%s %s: name the whole commit, 40 digits; it takes seconds to make two commits "+
				"of which the first digits are the same", verb, word)
		case name == "":
			return nil, wrongCommand("%s: %q is neither a commit, which comes first, nor an input of the job, "+
				"NAME=VALUE", verb, word)
		case named[name]:
			return nil, wrongCommand("%s: the input %s is given twice", verb, name)
		default:
			named[name] = true
			c.Inputs = append(c.Inputs, word)
		}
	}
	return &c, nil
}
