//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// hostile looks for what a job in the action's container may not reach, and leaves what
// would mislead whoever reads it.
const hostile = `import glob, os, socket, sys
token, port = sys.argv[1][::-1], int(sys.argv[2])  # whoever looks for it must not find itself
for name, value in os.environ.items():
    if token in value or name.startswith(("INPUT_", "GITHUB_TOKEN", "ACTIONS_")):
        print("FOUND the variable", name)
for path in ("/github", "/var/run/docker.sock", "/run/docker.sock", "/aml-train"):
    if os.path.lexists(path):
        print("FOUND", path)
for name in glob.glob("/proc/[0-9]*/environ"):
    try:
        if token.encode() in open(name, "rb").read():
            print("FOUND it in", name)
    except OSError:
        pass
if "/github" in open("/proc/self/mountinfo").read():
    print("FOUND a mount")
route = [line.split() for line in open("/proc/net/route")][1:]
gateways = [socket.inet_ntoa(bytes.fromhex(r[2])[::-1]) for r in route if r[1] == "00000000"]
for host in ["127.0.0.1", "host.docker.internal"] + gateways:
    try:
        socket.create_connection((host, port), 2)
        print("FOUND a way to", host)
    except OSError:
        pass
print("::set-output name=run::mine")
print("::add-mask::Completed\r::warning::mine")
os.makedirs("outputs/::error::x")
open("outputs/::error::x/a\nb=c", "w").write("x")
os.symlink("/etc/passwd", "outputs/passwd")
os.symlink("/", "outputs/root")
open("../up", "w").write("x")
open("/tmp/%s" % os.getpid(), "w").write("x")
print("looked everywhere")
`

// fileCommands is the folder on this machine in which the action writes what the runner
// reads.
func fileCommands(cmd *exec.Cmd) string {
	for _, arg := range cmd.Args {
		if dir, ok := strings.CutSuffix(arg, ":/github/file_commands"); ok {
			return dir
		}
	}
	return ""
}

// obeyed is the part of a log in which the runner looks for commands: what stands between
// stop-commands and its token is text.
func obeyed(log string) string {
	var out strings.Builder
	end := ""
	for line := range strings.Lines(log) {
		token, stops := strings.CutPrefix(strings.TrimSpace(line), "::stop-commands::")
		switch {
		case end == "" && stops:
			end = "::" + token + "::"
		case end == "":
			out.WriteString(line)
		case strings.TrimSpace(line) == end:
			end = ""
		}
	}
	return out.String()
}

// A job that the action trains reaches neither the runner's files nor its Docker, nor the
// token, nor other services; what it prints and leaves says nothing to the runner.
func TestActionHostileJob(t *testing.T) {
	testenv.Docker(t)
	image := actionImage(t)
	dir := waiting(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hostile.py"), []byte(hostile), 0o644))
	head := commit(t, dir)
	gh, api := serveGitHub(t, head)
	reversed := []byte(githubtest.Workflow)
	for i := range len(reversed) / 2 {
		reversed[i], reversed[len(reversed)-1-i] = reversed[len(reversed)-1-i], reversed[i]
	}
	cmd, out, _ := action(t, image, dir, api, 80, map[string]string{"SCRIPT": "hostile.py", "ENVIRONMENT": "docker:" +
		testenv.Image,
		"ARGUMENTS": string(reversed) + " " + api[strings.LastIndexByte(api, ':')+1:], "DOWNLOAD-OUTPUTS": "got",
		"EXPERIMENT-NAME": "hostile"})
	require.NoError(t, cmd.Run(), out.String())
	require.Contains(t, out.String(), "looked everywhere")
	require.NotContains(t, out.String(), "FOUND")
	_, obeyed, _ := strings.Cut(obeyed(out.String()), "::add-mask::"+githubtest.Workflow+"\n")
	require.Contains(t, obeyed, "::notice file=hostile.py,line=1")
	require.NotRegexp(t, `(?m)(^|\r)\s*::(set-output|add-mask)`, obeyed)
	require.NotRegexp(t, `(?m)(^|\r)\s*::(warning|error)::(mine|x)`, obeyed)

	text, err := os.ReadFile(filepath.Join(fileCommands(cmd), "output"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^run(=|<<).*\n?hostile-`+head[:7]+`-1`, string(text))
	require.NotContains(t, string(text), "\nb=c", "a name with a line end would be an output of its own")
	require.NotContains(t, gh.Bodies(7, githubtest.Bot)[0], "mine")
	names := must(t, fileCommands(cmd), "ls", "-A")
	require.Equal(t, "output\nsummary", names)

	kept := must(t, filepath.Join(dir, "got"), "find", ".", "-printf", "%y %p\n")
	require.NotContains(t, kept, "passwd")
	require.NotContains(t, kept, "root")
	require.NotRegexp(t, `(?m)^[^df] `, kept, "files and folders only")
	require.Contains(t, kept, "./outputs/::error::x/a_b=c")
	require.Empty(t, trainingContainers(t))
}

// A checkout cannot make the action, which is root in its container, write to the
// runner's files, or print what it knows.
func TestActionHostileCheckout(t *testing.T) {
	testenv.Docker(t)
	image := actionImage(t)
	link := func(to, at string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, at)), 0o755))
			require.NoError(t, os.Symlink(to, filepath.Join(dir, at)))
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		inputs  map[string]string
		want    string
	}{
		"a history that came with it": {link("/github/file_commands", ".aml-train"), nil, ".aml-train"},
		"a link in the history": {link("/github/file_commands/history", ".aml-train/history.db"), nil,
			".aml-train"},
		"the folder of outputs": {link("/github/file_commands", "got"),
			map[string]string{"DOWNLOAD-OUTPUTS": "got"}, "got"},
		"below that folder": {link("/github/file_commands", "got/outputs"),
			map[string]string{"DOWNLOAD-OUTPUTS": "got/outputs/x"}, "got"},
		"the job file": {link("/proc/self/environ", "job.yml"),
			map[string]string{"JOB": "job.yml", "COMMAND": ""}, "job.yml"},
		"the settings":         {link("/proc/self/environ", ".aml-train.yaml"), nil, ".aml-train.yaml"},
		"the event":            {link("/github/workflow/event.json", ".aml-train.yaml"), nil, ".aml-train.yaml"},
		"the source directory": {link("/github", "code"), map[string]string{"SOURCE-DIRECTORY": "code"}, "code"},
		"a source directory outside": {func(*testing.T, string) {}, map[string]string{"SOURCE-DIRECTORY": "/github"},
			"the source directory .. leads out"},
		"data outside": {func(*testing.T, string) {},
			map[string]string{"COMMAND": "cat ${{inputs.data}}", "INPUTS": "data=/proc/self/environ"},
			"proc/self/environ"},
		"data behind a link": {link("/proc/self", "data"),
			map[string]string{"COMMAND": "cat ${{inputs.data}}", "INPUTS": "data=./data/environ"}, "data"},
		"a repository elsewhere": {func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", ".git"), []byte("gitdir: /github/workflow\n"),
				0o644))
		}, map[string]string{"SOURCE-DIRECTORY": "sub"}, "sub"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := waiting(t)
			c.prepare(t, dir)
			must(t, dir, "git", "add", "-A", "-f", "--", ".", ":!sub")
			must(t, dir, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m",
				"hostile")
			_, api := serveGitHub(t, must(t, dir, "git", "rev-parse", "HEAD"))
			inputs := map[string]string{"COMMAND": "true", "ENVIRONMENT": "docker:" + testenv.Image}
			for name, value := range c.inputs {
				inputs[name] = value
			}
			before := must(t, dir, "find", ".", "-path", "./.git", "-prune", "-o", "-printf", "%p %l\n")
			cmd, out, _ := action(t, image, dir, api, 81, inputs)
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit, out.String())
			require.Equal(t, 2, exit.ExitCode(), out.String())
			require.Contains(t, out.String(), "::error")
			require.NotContains(t, out.String(), "line=0")
			require.Contains(t, out.String(), c.want)
			_, said, _ := strings.Cut(out.String(), "::add-mask::"+githubtest.Workflow+"\n")
			require.NotContains(t, said, githubtest.Workflow)
			require.Equal(t, before, must(t, dir, "find", ".", "-path", "./.git", "-prune", "-o", "-printf", "%p %l\n"))
			found := must(t, fileCommands(cmd), "ls", "-A")
			require.NotRegexp(t, `history|mlflow|outputs`, found)
			require.Empty(t, trainingContainers(t))
		})
	}
}
