package job

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

type team struct {
	Job  string   `yaml:"job"`
	Keep []string `yaml:"keep"`
	List []Item   `yaml:"list"`
	Most int      `yaml:"at most"`
	Hook struct {
		Wait     string `yaml:"wait" oneof:"submitted"`
		Required bool   `yaml:"required"`
	} `yaml:"hook"`
}

func TestSettings(t *testing.T) {
	none := func(func(key string, offset int, message string)) {}
	var s team
	require.NoError(t, Settings([]byte("job: a.yml\nkeep: runs/\nhook: {wait: Submitted, required: true}\n"), "s", &s,
		none))
	require.Equal(t, "a.yml", s.Job)
	require.Equal(t, []string{"runs/"}, s.Keep)
	require.Equal(t, "submitted", s.Hook.Wait)
	require.True(t, s.Hook.Required)
	require.NoError(t, Settings([]byte("list:\n  - a b\n  - c\n"), "s", &s, none))
	require.Equal(t, []Item{{"a b", 2, 5}, {"c", 3, 5}}, s.List)
	require.NoError(t, Settings([]byte("at most: 3\n"), "s", &s, none))
	require.Equal(t, 3, s.Most)
	require.ErrorContains(t, Settings([]byte("at most: 0\n"), "s", &s, none), "at most is 0; the least is 1")
	require.ErrorContains(t, Settings([]byte("at most: some\n"), "s", &s, none), "it has to be a whole number")
	for _, nothing := range []string{"", "# nothing\n", "hook:\n", "keep:\njob:\n"} {
		s = team{}
		require.NoError(t, Settings([]byte(nothing), "s", &s, none), nothing)
		require.Equal(t, team{}, s)
	}
	err := Settings([]byte("jop: a\nhook:\n  wait: later\n  required: maybe\nkeep: {a: b}\njob: [x]\n"), "s.yaml", &s,
		func(report func(key string, offset int, message string)) { report("hook.wait", 2, "and again") })
	require.Equal(t, `s.yaml:1:1: a file of settings has no key "jop"; did you mean job?
  | jop: a
  | ^
s.yaml:3:9: hook.wait is "later"; it can be submitted
  |   wait: later
  |         ^
s.yaml:3:11: and again
  |   wait: later
  |           ^
s.yaml:4:13: hook.required is "maybe"; it has to be true or false
  |   required: maybe
  |             ^
s.yaml:5:7: keep is a mapping; it has to be a string
  | keep: {a: b}
  |       ^
s.yaml:6:6: job is a list; it has to be a string
  | job: [x]
  |      ^`, err.Error())
	require.ErrorContains(t, Settings([]byte("- a"), "s", &s, none),
		"s:1:1: holds a list; a file of settings is a mapping of keys")
	require.ErrorContains(t, Settings([]byte("a: ["), "s", &s, none), "not valid YAML")
	require.ErrorContains(t, Settings([]byte("\x00"), "s", &s, none), "is not a text file; a file of settings is YAML")
}

// Nine lists of nine times the list before stand for a billion words.
func TestSettingsLaugh(t *testing.T) {
	text := "a: &a [l, l, l, l, l, l, l, l, l]\n"
	for c := 'b'; c <= 'i'; c++ {
		text += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 8) + "*" + string(c-1) +
			"]\n"
	}
	require.Less(t, testenv.Allocated(func() {
		var s team
		require.Error(t, Settings([]byte(text), "s", &s, func(func(key string, offset int, message string)) {}))
	}), int64(4<<20))
}
