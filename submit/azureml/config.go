package azureml

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
)

// FindConfig reads the workspace from Azure ML's own config.json: .azureml or the
// folder dir itself, or one above (azure-ai-ml, _ml_client.py, from_config). Where
// there is none, the workspace is empty.
//
// It decides where code and data are sent. In the repository at root, absolute, it is a
// file of the repository. Above that it counts only where it belongs to this user, to the
// machine's, or to the repository's owner: anybody may write to /tmp.
func FindConfig(dir, root string) (Workspace, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Workspace{}, err
	}
	place := inside.Place{Dir: root}
	for {
		for _, name := range []string{filepath.Join(dir, ".azureml", "config.json"),
			filepath.Join(dir, "config.json")} {
			text, err := readConfig(name, place)
			if err != nil {
				return Workspace{}, err
			}
			// Other programs have a config.json too; ours names a workspace.
			var w Workspace
			if json.Unmarshal(text, &w) == nil && w.Name != "" {
				return w, nil
			}
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return Workspace{}, nil
	}
}

// readConfig returns nothing of a file that is not there or does not count: it is
// somebody else's, or another program's.
func readConfig(name string, place inside.Place) ([]byte, error) {
	var text []byte
	var err error
	if place.Has(name) {
		text, err = place.Read(name, limited.Config)
	} else if info, serr := os.Stat(name); serr != nil || !trusted(info, place.Dir) {
		return nil, nil
	} else {
		text, err = limited.Read(name, limited.Config)
	}
	var outside *inside.OutsideError
	var large *limited.TooLargeError
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, limited.ErrNotRegular) || errors.As(err, &outside) ||
		errors.As(err, &large) {
		return nil, nil
	}
	return text, err
}
