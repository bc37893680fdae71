package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestTracebacks runs each program of testdata/errors with Python, and looks whether the
// diagnosis leads to the line that ends with "# here", under the title that the first line
// says. What the advice has to say stands after it.
func TestTracebacks(t *testing.T) {
	python := testenv.Program(t, "python3")
	programs, err := filepath.Glob("testdata/errors/*.py")
	require.NoError(t, err)
	require.Greater(t, len(programs), 15)
	say := regexp.MustCompile(`(?m)^# (want|says|file): (.*)$`)
	for _, program := range programs {
		t.Run(strings.TrimSuffix(filepath.Base(program), ".py"), func(t *testing.T) {
			t.Parallel()
			code, err := os.ReadFile(program)
			require.NoError(t, err)
			dir, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			script := filepath.Base(program)
			require.NoError(t, os.WriteFile(filepath.Join(dir, script), code, 0o644))
			cmd := exec.Command(python, filepath.Join(dir, script))
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.Error(t, err)

			want := map[string]string{"file": script}
			for _, m := range say.FindAllStringSubmatch(string(code), -1) {
				want[m[1]] = m[2]
			}
			text, err := os.ReadFile(filepath.Join(dir, want["file"]))
			require.NoError(t, err)
			line := 0
			for i, l := range strings.Split(string(text), "\n") {
				if strings.HasSuffix(l, "# here") {
					line = i + 1
				}
			}
			require.Positive(t, line)
			log := strings.Split(Plain(string(out)), "\n")
			d := Diagnose(run(history.Failed, 1, nil), log, Context{Work: dir})
			require.Equal(t, want["want"], d.Title, string(out))
			require.Equal(t, want["file"]+":"+strconv.Itoa(line), d.File+":"+strconv.Itoa(d.Line), string(out))
			require.NotEmpty(t, d.Advice)
			require.Contains(t, d.Advice, want["says"])
		})
	}
}
