package job

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnpinned(t *testing.T) {
	for text, want := range map[string][]string{
		"numpy==2.0\nscikit_learn[all] == 1.5.0 ; python_version > '3.9'\ntorch===2.1+cpu\n": nil,
		"numpy\npandas>=2\ntorch==2.*\njax==0.4,!=0.4.1\n": {"numpy", "pandas>=2",
			"torch==2.*", "jax==0.4,!=0.4.1"},
		"--index-url https://example.com/simple\nnumpy==2.0 --hash=sha256:abc\n": nil,

		"p @ https://example.com/p-1.0-py3-none-any.whl\n": {"p @ https://example.com/p-1.0-py3-none-any.whl"},

		"p @ git+https://github.com/o/p@0123456789012345678901234567890123456789\n": nil,

		"p @ git+https://github.com/o/p@main\n": {"p @ git+https://github.com/o/p@main"},

		"p @ https://example.com/p.whl#sha256=" +
			"0123456789012345678901234567890123456789012345678901234567890123": nil,
	} {
		require.Equal(t, want, (&Packages{Pip: text}).Unpinned(), text)
	}
	p := &Packages{Pip: "Scikit.Learn>=1\nnumpy\nq @ https://example.com/q.whl\n",
		Constraints: "scikit-learn==1.5\nq==1\n"}
	require.Equal(t, []string{"numpy", "q @ https://example.com/q.whl"}, p.Unpinned())
	conda := &Packages{Conda: "dependencies:\n- python=3.12\n- numpy==2.0\n- c::x=1.0=py312_0\n- pip\n- y >=1\n" +
		"- z==1.*\n- pip:\n  - torch\n  - jax==0.4\n"}
	require.Equal(t, []string{"python=3.12", "pip", "y >=1", "z==1.*", "torch"}, conda.Unpinned())
}

func TestStartsPython(t *testing.T) {
	for command, want := range map[string]bool{
		"python train.py --epochs 3": true, "mkdir outputs && python -m train": true,
		"A=1 exec python3.12 -u t.py": true,
		"python \\\n train.py":        true, "python a.py; python b.py": true, "python t.py | tee log": true,
		"./train": false, "pip install x && python t.py": false, "uv run python t.py": false,
		"python a.py && ./b":     false,
		"/opt/x/bin/python t.py": false, "echo done": false, "python 'x": false, "": false,
	} {
		require.Equal(t, want, (&Job{Command: command}).StartsPython(), command)
	}
}
