package cli

import (
	"cmp"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/suggest"
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
			return mistake.Errorf("--%s %q: it takes %s; %s --help shows what there is", wrong.GetFlag().Name,
				wrong.GetValue(), takes, cmd.CommandPath())
		}
	}
	var unknown *pflag.NotExistError
	near := ""
	if errors.As(err, &unknown) {
		if unknown.GetSpecifiedName() == "allow-fork" {
			return mistake.Of(errAllowFork)
		}
		near = nearFlag(cmd, unknown)
	}
	return mistake.Errorf("%w; %s --help shows what there is%s", err, cmd.CommandPath(), near)
}

// nearFlag is the flag that was meant, or where one belongs that is the script's.
func nearFlag(cmd *cobra.Command, unknown *pflag.NotExistError) string {
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return behindDashes(cmd, "-"+name)
	}
	if other := otherFlags[name]; cmd.Flags().Lookup(other) != nil {
		return behindDashes(cmd, "--"+name) + "; did you mean --" + other + "?"
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := suggest.Nearest(name, names); near != "" {
		return "; did you mean --" + near + "?"
	}
	return behindDashes(cmd, "--"+name)
}

// otherFlags are flags by the names that the keys of job files, and other programs, give them.
var otherFlags = map[string]string{"timeout": "max-run-duration-seconds", "code": "source-directory",
	"compute": "compute-target", "name": "display-name", "experiment": "experiment-name", "image": "environment",
	"instance-count": "node-count", "output": "to", "out": "to", "output-dir": "to"}

// group adds commands to the help of root under a heading, in the order in which they are given.
func group(root *cobra.Command, heading string, commands ...*cobra.Command) {
	cobra.EnableCommandSorting = false
	root.AddGroup(&cobra.Group{ID: heading, Title: heading})
	for _, c := range commands {
		c.GroupID = heading
	}
	root.AddCommand(commands...)
}

// otherNames are commands by the names that other programs give them.
var otherNames = map[string]string{"ls": "runs", "list": "runs", "ps": "runs", "log": "logs", "tail": "logs",
	"status": "show", "describe": "show", "stop": "cancel", "kill": "cancel", "rm": "delete", "remove": "delete",
	"diff": "compare", "train": "run", "create": "submit", "start": "submit", "stream": "watch", "attach": "watch",
	"check": "validate", "lint": "validate", "files": "snapshot", "register": "promote", "new": "init",
	"mlflow": "ui", "version": "aml-train --version"}

// knownCommand is an error for the name of a command that cmd does not have.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	near := ""
	if other := otherNames[args[0]]; other != "" && !cmd.HasParent() {
		near = "; did you mean " + other + "?"
	}
	path := strings.TrimPrefix(cmd.CommandPath()+" "+args[0], cmd.Root().Name()+" ")
	return mistake.Errorf("there is no command %q%s", path,
		cmp.Or(near, suggest.DidYouMean(args[0], names), "; "+cmd.CommandPath()+" --help lists them"))
}

// wrongArguments says which argument of a command is one too many, or that one is missing:
// what check refuses. cobra's own words count arguments.
func wrongArguments(cmd *cobra.Command, args []string, check cobra.PositionalArgs) error {
	if cmd.HasAvailableSubCommands() {
		return knownCommand(cmd, args)
	}
	use := strings.TrimSuffix(strings.TrimSpace(cmd.UseLine()), " [flags]")
	positional := args
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		positional = args[:at]
	}
	for n := len(positional) - 1; n >= 0; n-- {
		if check(cmd, positional[:n]) == nil {
			return mistake.Errorf("unexpected argument %q; usage: %s%s", positional[n], use,
				behindDashes(cmd, positional[n]))
		}
	}
	return mistake.Errorf("an argument is missing; usage: %s", use)
}

// behindDashes is where a flag or an argument belongs that is the script's, "" for a command
// that has no script.
func behindDashes(cmd *cobra.Command, word string) string {
	if cmd.Flags().Lookup("script") == nil {
		return ""
	}
	return "; what is for the script stands behind --, as in -- " + word
}
