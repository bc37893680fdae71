package cli

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// headings are those under which help shows flags apart from a command's own, in order.
var headings = []string{"In a workflow", "Azure Machine Learning"}

// headingKey is the annotation of a flag that names its heading.
const headingKey = "aml-train-heading"

// under puts the flags that add defines under a heading of the help.
func under(heading string, s *pflag.FlagSet, add func()) {
	before := map[string]bool{}
	s.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	add()
	s.VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] {
			s.SetAnnotation(f.Name, headingKey, []string{heading})
		}
	})
}

// flagUsages shows the flags of a command as they were declared: its own first, then those
// that stand under a heading.
func flagUsages(cmd *cobra.Command) string {
	local := cmd.LocalFlags()
	parts := map[string]*pflag.FlagSet{}
	local.SortFlags = false
	local.VisitAll(func(f *pflag.Flag) {
		heading := ""
		if named := f.Annotations[headingKey]; len(named) > 0 {
			heading = named[0]
		}
		if parts[heading] == nil {
			parts[heading] = pflag.NewFlagSet(heading, pflag.ContinueOnError)
			parts[heading].SortFlags = false
		}
		parts[heading].AddFlag(f)
	})
	var b strings.Builder
	for _, heading := range append([]string{""}, headings...) {
		if s := parts[heading]; s != nil && s.HasAvailableFlags() {
			if heading == "" {
				heading = "Flags"
			}
			b.WriteString("\n\n" + heading + ":\n" + strings.TrimRight(s.FlagUsages(), "\n"))
		}
	}
	return b.String()
}

// showFlags has the usage that cobra writes show our flags. A template of its own would do
// the same, and link all methods of every package into the program (text/template calls them
// by their names), which then is twice as large.
func showFlags(root *cobra.Command) {
	theirs := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		var text strings.Builder
		cmd.SetOut(&text)
		defer cmd.SetOut(out)
		if err := theirs(cmd); err != nil {
			return err
		}
		flags := "\n\nFlags:\n" + strings.TrimRight(cmd.LocalFlags().FlagUsages(), " \n")
		_, err := io.WriteString(out, strings.Replace(text.String(), flags, flagUsages(cmd), 1))
		return err
	})
}

// flagError says what is wrong with a flag in words: pflag's own hold those of the functions
// that read numbers.
func flagError(cmd *cobra.Command, err error) error {
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) {
		takes := map[string]string{"int": "a whole number", "bool": "true or false",
			"durationSlice": "durations, such as 30s or 1m,10m"}[wrong.GetFlag().Value.Type()]
		if takes != "" {
			return usage("--%s %q: it takes %s; %s --help shows what there is", wrong.GetFlag().Name, wrong.GetValue(),
				takes, cmd.CommandPath())
		}
	}
	var unknown *pflag.NotExistError
	near := ""
	if errors.As(err, &unknown) {
		if unknown.GetSpecifiedName() == "allow-fork" {
			return usageError{errAllowFork}
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		near = didYouMean("--"+unknown.GetSpecifiedName(), names)
	}
	return usage("%w; %s --help shows what there is%s", err, cmd.CommandPath(), near)
}
