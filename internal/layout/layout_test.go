package layout

import (
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  Layout
	}{
		"a script": {map[string]string{"train.py": "import json"},
			Layout{Script: "train.py", Command: "python train.py"}},
		"nothing": {map[string]string{"a.txt": ""}, Layout{}},
		"the nearest": {map[string]string{"old/train.py": "", "scripts/train.py": "", "main.py": ""},
			Layout{Script: "old/train.py", Command: "python old/train.py"}},
		"Lightning": {map[string]string{"main.py": "import lightning as L\n"},
			Layout{Script: "main.py", Command: "python main.py", Keep: []string{"lightning_logs/"}}},
		"Trainer": {map[string]string{"train.py": "args = TrainingArguments(\n    output_dir='results',\n)\n"},
			Layout{Script: "train.py", Command: "python train.py", Keep: []string{"results/"}}},
		"kept already": {map[string]string{"train.py": "a = TrainingArguments(output_dir='outputs/x')\n" +
			"plt.savefig('logs/a.png')\nw = SummaryWriter('../x')"},
			Layout{Script: "train.py", Command: "python train.py"}},
		"Hydra and W&B": {map[string]string{"train.py": "import hydra\nfrom wandb import init\n"},
			Layout{Script: "train.py", Command: "python train.py", Keep: []string{"multirun/", "wandb/"}}},
		"figures": {map[string]string{"train.py": "plt.savefig('figures/a.png')\n" +
			"torch.save(m, \"ckpt/last.pt\")\nw = SummaryWriter()"},
			Layout{Script: "train.py", Command: "python train.py", Keep: []string{"ckpt/", "figures/", "runs/"}}},
		"not in its tests": {map[string]string{"train.py": "", "tests/test_a.py": "import wandb"},
			Layout{Script: "train.py", Command: "python train.py"}},
		"not by its name": {map[string]string{"train.py": "import wandb_helpers\n# import hydra"},
			Layout{Script: "train.py", Command: "python train.py"}},
		"uv": {map[string]string{"train.py": "", "uv.lock": "", "src/p/a.py": ""},
			Layout{Script: "train.py", Command: "uv run python train.py"}},
		"poetry": {map[string]string{"train.py": "", "poetry.lock": ""},
			Layout{Script: "train.py", Command: "poetry run python train.py"}},
		"src": {map[string]string{"train.py": "", "src/p/a.py": ""},
			Layout{Script: "train.py", Command: "python train.py", Env: map[string]string{"PYTHONPATH": "src"}}},
		"a script in src": {map[string]string{"src/train.py": "", "src/p/a.py": ""},
			Layout{Script: "src/train.py", Command: "python src/train.py"}},
		"DVC": {map[string]string{"train.py": "", "dvc.yaml": "", "data.dvc": ""},
			Layout{Script: "train.py", Command: "dvc pull && dvc repro", Keep: []string{"dvc.lock"}}},
		"a notebook": {map[string]string{"nb/train.ipynb": "{}"},
			Layout{Script: "nb/train.ipynb", Command: "mkdir -p outputs && papermill nb/train.ipynb " +
				"outputs/train.ipynb"}},
		"DVC for its files": {map[string]string{"train.py": "", "data/x.dvc": ""},
			Layout{Script: "train.py", Command: "dvc pull && python train.py"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range test.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got := Of(files, slices.Sorted(maps.Keys(test.files)))
			if test.want.Env == nil {
				test.want.Env = map[string]string{}
			}
			require.Equal(t, test.want, got)
		})
	}
}
