package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// scalarOracle answers each job file on a line of its input with what Microsoft's own
// client sends of it, texts as Python writes them; or null, where it refuses.
const scalarOracle = `
import json, sys, logging, os, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
from azure.ai.ml import load_job
def field(p, path):
    for name in path.split("."):
        p = p.get(name) if hasattr(p, "get") else getattr(p, name)
        if p is None: return ""
    return str(p)
for line in sys.stdin:
    text, path = json.loads(line)
    with open("job.yml", "w") as f: f.write(text)
    try:
        job = load_job("job.yml")
        answer = field(json.loads(json.dumps(job._to_job()._to_rest_object().as_dict(exclude_readonly=True), default=str))["properties"], path)
    except Exception: answer = None
    print("answer", json.dumps(answer), flush=True)
`

// scalarFields are one of each kind of field: the file, where Microsoft's client puts it,
// and ours.
var scalarFields = []struct {
	name, yaml, theirs string
	ours               func(*Job) string
}{
	{"text", "display_name: %s\n", "displayName", func(j *Job) string { return j.DisplayName }},
	{"tag", "tags:\n  a: %s\n", "tags.a", func(j *Job) string { return j.Tags["a"] }},
	{"variable", "environment_variables:\n  A: %s\n", "environmentVariables.A",
		func(j *Job) string { return j.EnvironmentVariables["A"] }},
	{"input", "inputs:\n  a: %s\n", "inputs.a.value", func(j *Job) string { return j.Inputs["a"].Value }},
	{"number", "resources:\n  instance_count: %s\n", "resources.instanceCount",
		func(j *Job) string { return fmt.Sprint(j.Resources.InstanceCount) }},
	{"workers", "distribution:\n  type: pytorch\n  process_count_per_instance: %s\n",
		"distribution.processCountPerInstance",
		func(j *Job) string { return fmt.Sprint(j.Distribution.ProcessCountPerInstance) }},
	{"truth", "distribution:\n  type: ray\n  include_dashboard: %s\n", "distribution.includeDashboard",
		func(j *Job) string {
			if j.Distribution.IncludeDashboard {
				return "True"
			}
			return "False"
		}},
	{"word", "queue_settings:\n  priority: %s\n", "queueSettings.priority", func(j *Job) string {
		return map[string]string{"low": "1", "medium": "2", "high": "3"}[j.QueueSettings.Priority]
	}},
	{"size", "resources:\n  shm_size: %s\n", "resources.shmSize", func(j *Job) string { return j.Resources.ShmSize }},
}

// scalars are what YAML 1.1 and 1.2, Python and Go read differently.
var scalars = strings.Fields(`yes Yes YES yEs 'yes' on ON off no No n y Y true True TRUE tRue "true" ~ null Null nULL 'null' 0o17 017 0017 08 09 0x1F 0X1F 0x_ 0b11 0b12 0B1
	12:30:45 1:60 1:59 01:30 -1:30 1:30.5 190:20:30.15 1.5e3 1.5E+3 1.5e+3 1.5e-3 1e3 1e+3 1. .5 -.5 +.5 5. 5.0 .inf -.inf +.INF .Inf .iNF .nan .NaN -.nan inf nan Infinity
	5 +5 -5 -0 00 0 0.0 1_000 1__0 _1 1_ 1_0.5 '5' "5" '5.0' '1_000' '0x5' '+5' 2147483648 9223372036854775807 9223372036854775808 18446744073709551616 100000000000000000000000
	1e400 1.0e+400 1.0e+16 1.0e-5 0.1 0.10 123456789.123456789 2026-01-02 2026-1-2 2026-13-45 2026-01-02T03:04:05Z 2026-01-02t03:04:05.5 26-01-02 1-2 = << low High LOW 2g 512m 1.2.3 v1 a:b a#b -a .a +a -- ... 1,000 12% @a`)

// numbers that a random scalar is made of.
const scalarLetters = "0123456789019_:.-+eExob"

func randomScalar(r *rand.Rand) string {
	if r.IntN(6) == 0 {
		return "!!" + []string{"int", "float", "str", "bool", "null"}[r.IntN(5)] + " " + scalars[r.IntN(len(scalars))]
	}
	text := make([]byte, 1+r.IntN(6))
	for i := range text {
		text[i] = scalarLetters[r.IntN(len(scalarLetters))]
	}
	if r.IntN(6) == 0 {
		return "'" + string(text) + "'"
	}
	return string(text)
}

// TestScalarsAgainstAzure reads 300 scalars in each kind of field as Microsoft's client
// does. What it refuses in the place of text, and what says the same without quotes, is
// text here; a count below one, a fraction of one, most dates and !!binary are refused here.
func TestScalarsAgainstAzure(t *testing.T) {
	python := testenv.Python(t)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "src"), 0o755))
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	all := append([]string{"", "!!float 5", "!!int '5'", "!!str 5", "!!int 5.5", "!!bool 5", "!!binary YQ==",
		"!mine 5"}, scalars...)
	for len(all) < 300 {
		all = append(all, randomScalar(r))
	}
	var questions bytes.Buffer
	files := func(yaml, scalar string) string {
		return "command: echo\ncode: src\ncompute: azureml:c\nenvironment: azureml:e:1\n" + fmt.Sprintf(yaml, scalar)
	}
	for _, f := range scalarFields {
		for _, s := range all {
			require.NoError(t, json.NewEncoder(&questions).Encode([]string{files(f.yaml, s), f.theirs}))
		}
	}
	cmd := exec.Command(python, "-c", scalarOracle)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, &questions, append(os.Environ(), "AZURE_TELEMETRY_DISABLED=1")
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	answers := regexp.MustCompile(`(?m)^answer (.*)$`).FindAllSubmatch(out, -1)
	require.Len(t, answers, len(scalarFields)*len(all))
	agree := 0
	for i, f := range scalarFields {
		for k, s := range all {
			var theirs *string
			require.NoError(t, json.Unmarshal(answers[i*len(all)+k][1], &theirs))
			file := filepath.Join(dir, "ours.yml")
			require.NoError(t, os.WriteFile(file, []byte(files(f.yaml, s)), 0o644))
			j, err := Load(t.Context(), file, Options{})
			if why := scalarsDiffer(f.name, s, theirs, j, err, f.ours); why != "" {
				t.Errorf("%s: %s: %s", f.name, s, why)
			} else if err == nil && theirs != nil {
				agree++
			}
		}
	}
	require.Greater(t, agree, len(all)) // they do not agree by refusing everything
}

func scalarsDiffer(field, scalar string, theirs *string, j *Job, err error, ours func(*Job) string) string {
	bare := strings.Trim(scalar[strings.LastIndex(" "+scalar, " "):], `'"`)
	switch {
	case theirs == nil && err == nil:
		if got := ours(j); got != bare && got != "" && got != "0" {
			return fmt.Sprintf("they refuse, ours is %q", got)
		}
	case theirs != nil && err != nil:
		for _, known := range []string{"the least is", "a date in YAML", "has to be a whole number",
			"no number that Azure ML takes", "write a number and b", "has no value", "the tag !!binary"} {
			if strings.Contains(err.Error(), known) {
				return ""
			}
		}
		return fmt.Sprintf("theirs is %q, ours: %v", *theirs, err)
	case theirs != nil && !strings.EqualFold(ours(j), *theirs):
		return fmt.Sprintf("theirs is %q, ours is %q", *theirs, ours(j))
	}
	return ""
}
