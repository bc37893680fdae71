package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/size"
)

// Offer is what there is to tell of a commit before somebody says that it trains.
type Offer struct {
	Name   string // of the job
	Line   string // by which a comment has it train
	Commit string // in full
	Whose  string // the repository that it comes from, OWNER/NAME, with its branch

	Snapshot string // its id; "" where no code travels
	Files    int
	Bytes    int64
	Source   string // the folder that travels; "" for the whole repository

	Command     string
	Environment string
	Inputs      []string // NAME=VALUE
	Writes      []string // where it writes besides its run: NAME=ADDRESS of outputs, and what is registered
	Identity    string   // on whose behalf it reads and writes; "" where the job does not say
	Where       string   // in words: where it runs, and what it can reach there
	Variables   []string // the names of those that it is given
	Cost        string   // in words

	Base    string       // what it is compared with: a branch and a commit; "" where nothing is known of that
	Changes []FileChange // since then, what travels first
}

// FileChange is a file that a commit changes.
type FileChange struct {
	Status  string // A, D, M or T, as git has it
	Path    string // in the repository
	Travels bool
	Note    string // what else it is, such as the job file
}

// mostChanges is how many changed files are named of each kind.
const mostChanges = 20

// Markdown tells it as GitHub's Markdown, in at most limit bytes.
func (o Offer) Markdown(limit int) string {
	head := fmt.Sprintf("### %s · nothing trains yet\n\n**Asked for** · commit %s of %s\n\nIt trains when somebody "+
		"who may push here has read that commit and writes this line into a comment:\n\n%s\nA push voids it: the line "+
		"is for this commit alone.\n\n", Escape(o.Name), label(o.Commit[:min(7, len(o.Commit))]), Escape(o.Whose),
		Fence(o.Line))
	rows := [][2]string{{"commit", Code(o.Commit)}}
	if o.Snapshot != "" {
		from := "the repository"
		if o.Source != "" {
			from = Code(o.Source + "/")
		}
		rows = append(rows, [2]string{"snapshot", fmt.Sprintf("%s: %s, %s, of %s", Code(o.Snapshot),
			size.Count(o.Files, "file"), size.Format(o.Bytes), from)})
	} else {
		rows = append(rows, [2]string{"snapshot", "none: no file travels"})
	}
	rows = append(rows, [2]string{"command", cell(o.Command)}, [2]string{"environment", cell(o.Environment)})
	if len(o.Inputs) > 0 {
		rows = append(rows, [2]string{"inputs", codes(o.Inputs)})
	}
	if len(o.Writes) > 0 {
		rows = append(rows, [2]string{"writes", codes(o.Writes)})
	}
	rows = append(rows, [2]string{"runs", Escape(o.Where)})
	if o.Identity != "" {
		rows = append(rows, [2]string{"as", cell(o.Identity)})
	}
	if len(o.Variables) > 0 {
		rows = append(rows, [2]string{"variables", codes(o.Variables)})
	}
	rows = append(rows, [2]string{"costs", Escape(o.Cost)})
	var b strings.Builder
	b.WriteString(head + "| | |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", r[0], r[1])
	}
	b.WriteString("\n" + strings.TrimRight(o.changes(), "\n") + "\n")
	text := b.String()
	if len(text) > limit { // the line that approves comes first, and is whole
		text = strings.ToValidUTF8(text[:max(limit, 0)], "")
	}
	return text
}

// cell is a text of code within a table, where a bar ends a cell in code as well.
func cell(s string) string {
	return strings.ReplaceAll(Code(Shorten(Line(s), 300)), "|", `\|`)
}

// codes are several of them.
func codes(list []string) string {
	out := make([]string, 0, len(list))
	for i, s := range list {
		if i == mostChanges {
			out = append(out, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		out = append(out, cell(s))
	}
	return strings.Join(out, ", ")
}

// changes tells what the commit changes.
func (o Offer) changes() string {
	if o.Base == "" {
		return "What it changes is not known here: the checkout does not have what it is based on (fetch-depth: 0 " +
			"gets it).\n"
	}
	var kinds [2][]FileChange
	for _, c := range o.Changes {
		kind := 1
		if c.Travels {
			kind = 0
		}
		kinds[kind] = append(kinds[kind], c)
	}
	var b strings.Builder
	for kind, what := range []string{"Of what travels, %s changed since %s", "Besides, %s changed"} {
		list := kinds[kind]
		slices.SortStableFunc(list, func(a, b FileChange) int { // what says how the job runs is not left out
			return cmp.Compare(min(len(b.Note), 1), min(len(a.Note), 1))
		})
		if kind == 1 && len(list) == 0 {
			break
		}
		count := size.Count(len(list), "file")
		if len(list) == 0 {
			count = "nothing"
		}
		args := []any{count, label(o.Base)}
		fmt.Fprintf(&b, what, args[:2-kind]...)
		if len(list) == 0 {
			b.WriteString(".\n\n")
			continue
		}
		b.WriteString(":\n\n")
		for i, c := range list {
			if i == mostChanges {
				fmt.Fprintf(&b, "- and %d more\n", len(list)-i)
				break
			}
			fmt.Fprintf(&b, "- %s %s%s\n", c.Status, Code(Shorten(c.Path, 300)), note(c.Note))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func note(s string) string {
	if s == "" {
		return ""
	}
	return ", " + Escape(s)
}
