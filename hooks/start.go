package hooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/detach"
	"github.com/org/aml-train/internal/git"
)

// Start starts this program anew for a repository, which goes on when this one has ended and prints
// to log.
func Start(repo *git.Repository, log *os.File, args ...string) (wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = log, log
	for _, kv := range os.Environ() { // git tells its hooks where the repository is, and everybody else finds it
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "GIT_CONFIG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if _, err := os.Lstat(filepath.Join(repo.Root, ".git")); err != nil { // nobody else would find it
		cmd.Env = append(cmd.Env, "GIT_DIR="+repo.GitDir, "GIT_WORK_TREE="+repo.Root)
	}
	detach.Session(cmd)
	return cmd.Wait, cmd.Start()
}
