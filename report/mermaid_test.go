package report

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestMermaid has Mermaid itself draw every chart of every report, in Chromium. With
// AML_TRAIN_TEST_PAGES, the pages are left in that folder to be looked at.
func TestMermaid(t *testing.T) {
	modules, chromium := testenv.Node(t), testenv.Program(t, "chromium")
	dir := os.Getenv("AML_TRAIN_TEST_PAGES")
	if dir == "" {
		dir = t.TempDir()
	}
	block := regexp.MustCompile("(?s)```mermaid\n(.*?)```")
	var charts []string
	reports := states(t)
	reports["names"] = &Report{Name: "names", Run: run(history.Completed, 1, nil), Curves: map[string]history.Curve{}}
	for _, name := range []string{strings.Repeat("long ", 50), "a\"b", "semi;colon", "x%%y", "{json}",
		"<script>alert(1)</script>", "日本語", "graph TD; A-->B", "`ticks`"} {
		reports["names"].Run.Data.Metrics = append(reports["names"].Run.Data.Metrics, metric(name, 1))
		reports["names"].Curves[name] = curve(-1e-7, 3e11, 0, 5)
	}
	for _, name := range []string{"completed", "compared", "hostile", "odd", "names"} {
		found := block.FindAllStringSubmatch(reports[name].Markdown(commentLimit), -1)
		require.NotEmpty(t, found, name)
		for _, m := range found {
			charts = append(charts, m[1])
		}
	}
	var page strings.Builder
	page.WriteString("<!doctype html><meta charset=utf-8><body>")
	for _, background := range []string{"#ffffff", "#0d1117"} { // GitHub's two themes
		fmt.Fprintf(&page, "<div style='background:%s;padding:16px'>", background)
		for _, c := range charts {
			fmt.Fprintf(&page, "<pre class=mermaid>%s</pre>", html.EscapeString(c))
		}
		page.WriteString("</div>")
	}
	fmt.Fprintf(&page, `<script src="file://%s/mermaid/dist/mermaid.min.js"></script><script>
mermaid.initialize({startOnLoad: false});
mermaid.run().then(() => document.title = "drawn", e => document.title = "error: " + e.str);</script>`, modules)
	file := filepath.Join(dir, "charts.html")
	require.NoError(t, os.WriteFile(file, []byte(page.String()), 0o644))
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--no-first-run",
		"--allow-file-access-from-files", "--user-data-dir="+t.TempDir(), "--virtual-time-budget=60000", "--dump-dom",
		"file://"+file)
	out, err := cmd.Output()
	require.NoError(t, err)
	dom := string(out)
	require.Contains(t, dom, "<title>drawn</title>", "Mermaid refuses a chart")
	require.Equal(t, 2*len(charts), strings.Count(dom, "<svg"))
	require.NotContains(t, dom, "Syntax error")
	require.Contains(t, dom, `stroke="#2f81f7"`, "the line has the colour that it was given")
}
