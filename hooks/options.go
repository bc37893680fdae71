package hooks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Skipped says who wants this push to go without the hook, "" where nobody does.
func Skipped(getenv func(string) string) string {
	switch v := getenv("AML_TRAIN_SKIP"); {
	case v != "" && v != "0":
		return "AML_TRAIN_SKIP"
	case slices.Contains(pushOptions(), "aml-train.skip"):
		return "the push option aml-train.skip"
	}
	return ""
}

// pushOptions returns the options that somebody gave to the git push that this hook
// is part of (git-push(1), --push-option). git tells them to the other side only, so
// they are read off its command line: one of the processes above this one. Where
// that cannot be read, there are none.
func pushOptions() []string {
	pid := os.Getppid()
	for range 10 { // shells and other hook managers stand between
		above, args := process(pid)
		if i := slices.Index(args, "push"); i > 0 && strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "git" {
			return optionsOf(args[i+1:])
		}
		if above <= 1 {
			break
		}
		pid = above
	}
	return nil
}

// optionsOf returns the push options among the arguments of git push.
func optionsOf(args []string) []string {
	var out []string
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch a := args[i]; {
		case a == "-o" || a == "--push-option":
			if i++; i < len(args) {
				out = append(out, args[i])
			}
		case strings.HasPrefix(a, "--push-option="):
			out = append(out, strings.TrimPrefix(a, "--push-option="))
		case strings.HasPrefix(a, "-o") && !strings.HasPrefix(a, "--"):
			out = append(out, a[2:])
		}
	}
	return out
}
