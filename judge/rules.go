package judge

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/suggest"
)

// Rule is a condition under which a change may be merged:
//
//	accuracy >= 0.9
//	accuracy >= baseline - 1%     a hundredth of the baseline's value less
//	loss <= baseline * 1.05
//	best(val/f1) >= 0.8           last, min, max, mean or best of a series; last where none is named
//	mean(reward, 100) > 20        of its last hundred points
//	val/f1 not worse              no worse beyond noise
//	duration <= 2h
//	cost <= 5 USD
//
// A metric whose name has an operator, a bracket or a comma in it stands in quotes.
type Rule struct {
	// Text is the rule as it was written.
	Text string
	// Metric is the name of the metric; "duration" in seconds and "cost" in USD are of the
	// run itself, where the name is not quoted.
	Metric string
	Quoted bool
	// Point is which value of the metric's series counts.
	Point Point
	// Operator is >=, <=, > or <, or "" where the rule says not worse.
	Operator string
	// OfBaseline is set where the limit is Factor times the baseline's value plus Percent
	// hundredths of its size, plus Number. Otherwise it is Number.
	OfBaseline              bool
	Factor, Percent, Number float64
}

// Point is which value of a series is judged.
type Point struct {
	// Of is last, min, max, mean or best: the max or the min as the metric's direction is.
	Of string
	// Window is how many of the last points count for a mean; 0 is all.
	Window int
}

// RuleError is a mistake in a rule's text, with the column (in runes, from 1) at which
// it stands.
type RuleError struct {
	Rule, Message string
	Column        int
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("%q, column %d: %s", e.Rule, e.Column, e.Message)
}

// What rules ask of a run itself.
const (
	Duration = "duration" // in seconds
	Cost     = "cost"     // in USD
)

// ParseRule reads a rule. An error is a *RuleError.
func ParseRule(text string) (Rule, error) {
	p := &parser{text: text, rest: text}
	r := Rule{Text: strings.TrimSpace(text), Point: Point{Of: "last"}}
	err := p.rule(&r)
	return r, err
}

type parser struct{ text, rest string }

func (p *parser) fail(format string, args ...any) error {
	p.space()
	column := utf8.RuneCountInString(p.text[:len(p.text)-len(p.rest)]) + 1
	return &RuleError{Rule: p.text, Message: fmt.Sprintf(format, args...), Column: column}
}

func (p *parser) space() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// take takes a literal if it stands next.
func (p *parser) take(literal string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, literal)
	if ok {
		p.rest = rest
	}
	return ok
}

// word takes what stands before a space or one of the given characters.
func (p *parser) word(until string) string {
	p.space()
	end := strings.IndexFunc(p.rest, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(until, r) })
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

func (p *parser) rule(r *Rule) error {
	if !utf8.ValidString(p.text) {
		return p.fail("this is not UTF-8")
	}
	if err := p.value(r); err != nil {
		return err
	}
	if err := p.operator(r); err != nil || r.Operator == "" {
		return err
	}
	if err := p.limit(r); err != nil {
		return err
	}
	if p.space(); p.rest != "" {
		return p.fail("nothing can stand behind the limit")
	}
	return nil
}

var points = []string{"last", "min", "max", "mean", "best"}

// value is a metric, or a function of one.
func (p *parser) value(r *Rule) error {
	p.space()
	if open := strings.IndexByte(p.rest, '('); open >= 0 && !strings.ContainsAny(p.rest[:open], `<>="`) {
		name := strings.TrimSpace(p.rest[:open])
		if !slices.Contains(points, name) {
			return p.fail("there is no %s(), only %s%s", name, strings.Join(points, ", "),
				suggest.DidYouMean(name, points))
		}
		r.Point.Of, p.rest = name, p.rest[open+1:]
		if err := p.metric(r, ",)<>="); err != nil {
			return err
		}
		if p.take(",") {
			window := p.word(")")
			n, err := strconv.Atoi(window)
			if err != nil || n < 1 || name != "mean" {
				p.rest = window + p.rest
				return p.fail("a number of points can be given to mean(metric, points), from 1 on")
			}
			r.Point.Window = n
		}
		if !p.take(")") {
			return p.fail("a closing bracket is missing")
		}
		return nil
	}
	return p.metric(r, "<>=")
}

var not = lazyregexp.New(`\s+not\s`)

// metric is a metric's name: quoted, or all before an operator or the words not worse.
func (p *parser) metric(r *Rule, until string) error {
	p.space()
	if strings.HasPrefix(p.rest, `"`) {
		name, rest, closed := strings.Cut(p.rest[1:], `"`)
		if !closed || name == "" {
			return p.fail("a metric's name stands between two quotes")
		}
		r.Metric, r.Quoted, p.rest = name, true, rest
		return nil
	}
	end := strings.IndexAny(p.rest, until)
	if end < 0 {
		end = len(p.rest)
	}
	if at := not.FindStringIndex(p.rest); end == len(p.rest) && at != nil {
		end = at[0]
	}
	r.Metric = strings.TrimSpace(p.rest[:end])
	if r.Metric == "" {
		return p.fail("a metric is missing, as in: accuracy >= 0.9")
	}
	p.rest = p.rest[end:]
	return nil
}

func (p *parser) operator(r *Rule) error {
	if p.take("not") {
		if p.word("") != "worse" || strings.TrimSpace(p.rest) != "" {
			return p.fail("not is followed by worse and nothing else, as in: %s not worse", r.Metric)
		}
		if !r.Quoted && (r.Metric == Duration || r.Metric == Cost) {
			return p.fail("the noise of a %[1]s is not judged: give a limit, as in: %[1]s <= baseline * 1.2", r.Metric)
		}
		return nil
	}
	for _, op := range []string{">=", "<=", ">", "<"} {
		if p.take(op) {
			r.Operator = op
			if p.take("=") {
				return p.fail("an operator is one of >=, <=, > and <")
			}
			return nil
		}
	}
	return p.fail("an operator is missing behind %q: one of >=, <=, > and <, or the words not worse", r.Metric)
}

// limit is a number with the unit that the value has, or the baseline's value with
// something added or multiplied.
func (p *parser) limit(r *Rule) error {
	p.space()
	before := p.rest
	if word := p.word("+-*"); word != "baseline" {
		p.rest = before
		return p.number(r, &r.Number)
	}
	r.OfBaseline, r.Factor = true, 1
	if p.space(); p.rest == "" {
		return nil
	}
	sign := 1.0
	switch {
	case p.take("*"):
		return p.plain(&r.Factor)
	case p.take("-"):
		sign = -1
	case p.take("+"):
	default:
		return p.fail("baseline is followed by nothing, or by +, - or * and a number")
	}
	if rest := strings.TrimSpace(p.rest); strings.HasSuffix(rest, "%") {
		p.rest = strings.TrimSuffix(rest, "%")
		err := p.plainAt(&r.Percent, rest)
		r.Percent *= sign
		return err
	}
	err := p.number(r, &r.Number)
	r.Number *= sign
	return err
}

// number is a number with its unit: a time for the duration, USD for the cost.
func (p *parser) number(r *Rule, v *float64) error {
	switch {
	case !r.Quoted && r.Metric == Duration:
		rest := strings.ReplaceAll(strings.TrimSpace(p.rest), " ", "")
		d, err := time.ParseDuration(rest)
		if err != nil {
			return p.fail("a duration is a number with its unit, as in 90s, 45m or 1h30m")
		}
		*v, p.rest = d.Seconds(), ""
		return nil
	case !r.Quoted && r.Metric == Cost:
		amount, ok := strings.CutSuffix(strings.TrimSpace(p.rest), "USD")
		if !ok {
			return p.fail("a cost is an amount in USD, as in: 5 USD")
		}
		all := p.rest
		p.rest = amount
		return p.plainAt(v, all)
	}
	return p.plain(v)
}

func (p *parser) plain(v *float64) error { return p.plainAt(v, p.rest) }

// plainAt reads the rest as one number; an error stands at the beginning of all.
func (p *parser) plainAt(v *float64, all string) error {
	text := strings.TrimSpace(p.rest)
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || strings.ContainsAny(text, "xX_") {
		p.rest = all
		switch {
		case text == "":
			return p.fail("a number is missing")
		case strings.HasSuffix(text, "%"):
			return p.fail("a percentage is one of the baseline, as in baseline - 1%%; a share is written as 0.9")
		}
		return p.fail("%q is not a number", text)
	}
	*v, p.rest = n, ""
	return nil
}
