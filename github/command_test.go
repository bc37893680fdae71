package github

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

const sha = "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b"

// TestCommand: what asks for training, what does not, and what is refused with the reason.
func TestCommand(t *testing.T) {
	line := "/train " + sha
	for name, c := range map[string]struct {
		body string
		want string // the line, "" for none; what begins with ! is the reason
	}{
		"plain":                          {"/train", "/train"},
		"a commit":                       {line, line},
		"in capitals":                    {"/train " + strings.ToUpper(sha), line},
		"inputs":                         {"/train rate_2=0.1 model=org/x:1", "/train rate_2=0.1 model=org/x:1"},
		"a commit and inputs":            {line + " a=1\tb=", line + " a=1 b="},
		"below text":                     {"Looks good.\n\n" + line + "\n\nThanks!", line},
		"right below text":               {"Looks good, @ada, see #1.\n" + line + "\nThanks!", line},
		"CRLF":                           {"Looks good.\r\n\r\n" + line + "\r\n", line},
		"carriage returns":               {"Looks good.\r\r" + line + "\r", line},
		"blanks behind it":               {line + "  \t\n", line},
		"behind a list":                  {"- one\n- two\n\n" + line, line},
		"behind a quote":                 {"> /train\n\n" + line, line},
		"behind a block of code":         {"```\n/train\n```\n\n" + line, line},
		"behind a comment":               {"<!-- /train -->\n\n" + line, line},
		"nothing":                        {"", ""},
		"another word":                   {"/training", ""},
		"another command":                {"/trail " + sha, ""},
		"in capitals itself":             {"/TRAIN " + sha, ""},
		"in a line":                      {"please /train " + sha, ""},
		"indented":                       {"  " + line, ""},
		"a block by indenting":           {"text\n\n    " + line + "\n", ""},
		"quoted":                         {"> " + line, ""},
		"quoted, lazily":                 {"> looks good\n" + line, ""},
		"quoted, more lazily":            {"> looks\ngood\n" + line, ""},
		"in a list":                      {"- looks good\n" + line, ""},
		"in a block of code":             {"```\n" + line + "\n```", ""},
		"in one without an end":          {"~~~sh\n\n" + line, ""},
		"in one within another":          {"````\n```\n" + line + "\n```\n````", ""},
		"in a comment":                   {"<!--\n" + line + "\n-->", ""},
		"in one with blank lines":        {"<!--\n\n" + line + "\n\n-->", ""},
		"in a comment without an end":    {"<!--\n\n" + line, ""},
		"in one behind a return":         {"text\r<!--\n\n" + line + "\n\n-->", ""},
		"in pre":                         {"<pre>\n\n" + line + "\n\n</pre>", ""},
		"in a tag":                       {"<div title=\"\n" + line + "\n\">", ""},
		"in a definition of a link":      {"[a]: /x '\n" + line + "\n'", ""},
		"in a footnote":                  {"x[^1]\n\n[^1]: y\n" + line, "!right below something else"},
		"a heading":                      {line + "\n---", ""},
		"another slash":                  {"\uff0ftrain " + sha, ""},
		"another letter":                 {"/tr\u0430in " + sha, ""},
		"behind a character of no width": {"\u200b" + line, ""},
		"behind a byte order mark":       {"\ufeff" + line, line},

		"twice":                    {line + "\n\n" + line, "!several lines"},
		"seven digits":             {"/train 1a2b3c4", "!name the whole commit"},
		"twelve digits":            {"/train " + sha[:12], "!name the whole commit"},
		"39 digits":                {"/train " + sha[:39], "!name the whole commit"},
		"41 digits":                {"/train " + sha + "0", "!is neither a commit"},
		"a branch":                 {"/train main", "!is neither a commit"},
		"the commit at the end":    {"/train a=1 " + sha, "!is neither a commit"},
		"an option":                {"/train --commit=" + sha, "!is neither a commit"},
		"an input without name":    {"/train =1", "!is neither a commit"},
		"an input twice":           {"/train a=1 a=2", "!the input a is given twice"},
		"another digit":            {"/train \uff11" + sha[1:], "!not one of ASCII"},
		"a blank of another":       {"/train\u00a0" + sha, "!not one of ASCII"},
		"turned round":             {"/train \u202e" + sha, "!not one of ASCII"},
		"an escape of Markdown":    {"/train a=1\\_2", "!Markdown or a shell"},
		"what a shell knows":       {"/train a=$(id)", "!Markdown or a shell"},
		"an address":               {"/train a=1https://x.example", "!stands in a paragraph with code"},
		"right below a heading":    {"# so\n" + line, "!right below something else"},
		"in a table":               {"[a]:\n|---|\n" + line, "!right below something else"},
		"below what is indented":   {"* *\n\n  so\n" + line, "!right below something else"},
		"what this program wrote":  {"<!-- aml-train 0123456789abcdef 41.1 ended -->\n\n" + line, ""},
		"in a formula":             {"$$\\color{white}{\n" + line + "\n}$$", "!stands in a paragraph with code"},
		"behind a formula's begin": {"$$\\color{white}{\n\n" + line + "\n\n}$$", "!formulas"},
		"in a formula of a line":   {"$a\n" + line + "\nb$", "!formulas"},
		"a row of a table":         {"| a |\n|---|\n" + line, "!stands in a paragraph with code"},
		"beside a footnote":        {"so[^1]\n\n" + line + "\n\n[^1]: x", "!beside footnotes"},
		"a tag before it":          {"so <b>\n\n" + line, "!has HTML"},
		"a tag in a quote":         {"> <?\n" + line, "!has HTML"},
		"a comment in a line":      {"so <!-- a -->\n\n" + line, line},
		"an escape":                {"/train \x1b[31m", "!Markdown or a shell"},
		"in a span of code":        {"so `\n" + line + "\n` it says", "!stands in a paragraph with code"},
		"in a tag within a line":   {"so <a title='\n" + line + "\n'>", "!has HTML"},
		"in a link":                {"[so](x '\n" + line + "\n')", "!stands in a paragraph with code"},
		"folded away":              {"<details>\n\n" + line + "\n\n</details>", "!has HTML"},
		"in a quote of HTML":       {"<blockquote>\n\n" + line + "\n\n</blockquote>", "!has HTML"},
		"behind comments":          {"<!-- a --><details><!-- b -->\n\n" + line, "!has HTML"},
		"a long line":              {"/train a=" + strings.Repeat("1", 1000), "!more than 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseCommand(c.body)
			if reason, bad := strings.CutPrefix(c.want, "!"); bad {
				var wrong *CommandError
				require.ErrorAs(t, err, &wrong)
				require.ErrorContains(t, err, reason)
				return
			}
			require.NoError(t, err)
			if c.want == "" {
				require.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			require.Equal(t, c.want, got.Line())
		})
	}
}

// pieces are what comments are made of, for those that make them by chance.
var pieces = []string{"/train", "/train " + sha, "/train a=1", "/train x", "text", "> ", ">", "- ", "* ", "1. ", "\t",
	"    ", " ", "```", "````", "~~~", "`", "``", "<!--", "-->", "<details>", "</details>", "<pre>", "</pre>", "<div>",
	"<a ", "title='", "'", "\"", ">", "[a]: ", "/x ", "(", ")", "[", "]", "](", "![", "*", "**", "_", "~", "\\", "&lt;",
	"#", "# ", "---", "===", "|", "| a |", "|---|", "[^1]: ", "[^1]", "https://x.example ", "<https://x.example>", "$$",
	"\u00a0", "\u200b", "\ufeff", "\x00", "<?", "?>", "<!D", "<![CDATA[", "]]>"}

// someComment is one by chance.
func someComment(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(12) {
		b.WriteString(pieces[r.IntN(len(pieces))])
		b.WriteString([]string{"", "", " ", "\n", "\n", "\n\n", "\r\n", "\r"}[r.IntN(8)])
	}
	return b.String()
}

// TestCommandAsShown compares with what GitHub shows: a line asks only where its readers see it
// as text of the comment itself, whatever else the comment is made of.
func TestCommandAsShown(t *testing.T) {
	python := testenv.CMark(t)
	const cases = 5000
	comments := make([]string, cases)
	for i := range comments {
		comments[i] = someComment(rand.New(rand.NewPCG(uint64(testenv.Seed()+i), 1)))
	}
	in, err := json.Marshal(comments)
	require.NoError(t, err)
	cmd := exec.Command(python, "testdata/shown.py")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	require.NoError(t, err)
	var shown [][]string
	require.NoError(t, json.Unmarshal(out, &shown))
	require.Len(t, shown, cases)
	asked, silent := 0, 0
	for i, comment := range comments {
		c, err := ParseCommand(comment)
		if err != nil || c == nil {
			if err == nil && len(shown[i]) == 1 {
				silent++
			}
			continue
		}
		asked++
		var lines []string
		for _, line := range shown[i] {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		if !slices.Contains(lines, c.Line()) {
			t.Errorf("AML_TRAIN_SEED=%d: %q asks for %q, and shows of such lines %q", testenv.Seed()+i, comment,
				c.Line(), lines)
		}
	}
	t.Logf("of %d comments %d ask; %d show such a line and do not", cases, asked, silent)
	require.Greater(t, asked, cases/100)
}

// FuzzCommand: a comment asks only by a line that it has, the same on every system, and never
// from within a quote, a list or a block of code.
func FuzzCommand(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f.Add(someComment(r))
	}
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > CommentLimit {
			return
		}
		c, err := ParseCommand(body)
		plain := strings.TrimPrefix(lineEnds.Replace(body), "\ufeff")
		if err == nil && c != nil {
			found := false
			for line := range strings.SplitSeq(plain, "\n") {
				words := strings.Fields(strings.ToLower(line))
				found = found || strings.HasPrefix(line, verb) &&
					strings.Join(words, " ") == strings.ToLower(c.Line())
			}
			require.True(t, found, "%q has no line %q", body, c.Line())
			if c.Commit != "" {
				require.Regexp(t, `^[0-9a-f]{40}$`, c.Commit)
			}
		}
		again, errAgain := ParseCommand(strings.ReplaceAll(plain, "\n", "\r\n"))
		require.Equal(t, err, errAgain)
		require.Equal(t, c, again)
		for _, hidden := range []string{
			"> " + strings.ReplaceAll(plain, "\n", "\n> "),
			"- " + strings.ReplaceAll(plain, "\n", "\n  "),
			"    " + strings.ReplaceAll(plain, "\n", "\n    "),
			"~~~" + strings.Repeat("~", strings.Count(plain, "~")) + "\n" + plain,
			"<!--\n" + strings.ReplaceAll(plain, "-->", "") + "\n-->",
		} {
			c, err := ParseCommand(hidden)
			require.NoError(t, err, "%q", hidden)
			require.Nil(t, c, "%q", hidden)
		}
	})
}
