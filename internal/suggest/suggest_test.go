package suggest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	files := []string{"job.yml", "two.yml", "train.py", "outputs/model.json"}
	for name, want := range map[string]string{
		"job.yaml": "job.yml", "jbo.yml": "job.yml", "Job.yml": "job.yml", "jb.yml": "job.yml", "trian.py": "train.py",
		"outputs/modle.json": "outputs/model.json",
		"env.yml":            "", "none.yml": "", "a.py": "", "": "",
	} {
		require.Equal(t, want, Nearest(name, files), name)
	}
	require.Equal(t, "val.loss", Nearest("val.lss", []string{"val.accuracy", "val.loss"}))
	require.Equal(t, "accuracy", Nearest("acuracy", []string{"accuracy", "loss"}))
	require.Empty(t, Nearest("x", nil))
	require.Equal(t, "; did you mean job.yml?", DidYouMean("jbo.yml", files))
	require.Empty(t, DidYouMean("job.yml", files), "it is there")
	require.Equal(t, "; it has a, b", Among("nowhere", []string{"b", "a"}, "it has"))
	require.Empty(t, Among("nowhere", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}, "it has"))
}
