package promote

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
)

// Settings say what is promoted on a merge, and as what.
type Settings struct {
	Model  string `yaml:"model" json:"model"`             // the registered model; "" where nothing is promoted
	Alias  string `yaml:"alias" json:"alias,omitempty"`   // that names the newest version of a merge, such as champion; "" for none
	Path   string `yaml:"path" json:"path,omitempty"`     // where among a run's outputs the model is; "" finds it
	Branch string `yaml:"branch" json:"branch,omitempty"` // what is merged into it is promoted; "" is the default branch
}

// Wanted is what a run is to become.
type Wanted struct {
	Settings
	Commit string // that a merge has brought to the branch; "" where a person names the run
}

// Noted is what is noted with a run that nobody waits for, for it to be promoted by.
func (w *Wanted) Noted() *Settings {
	if w == nil {
		return nil
	}
	noted := w.Settings
	noted.Branch = "" // which it was merged into already
	return &noted
}

// The names that every registry takes: MLflow's takes more, Azure Machine Learning's only these
// (learn.microsoft.com, "Naming rules"); an alias is MLflow's.
var (
	modelName  = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	aliasName  = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)
	aliasTaken = lazyregexp.New(`(?i)^(latest|v\d+)$`)
)

// Check calls report for each key that is wrong, with what is wrong with it.
func (s Settings) Check(report func(key, message string)) {
	switch {
	case s.Model == "" && s != Settings{}:
		report("", "promote names no model")
	case s.Model != "" && !modelName.MatchString(s.Model):
		report("model", fmt.Sprintf("the model is called %q; letters, digits, dots, _ and - can be in the name of a "+
			"registered model", s.Model))
	}
	switch {
	case s.Alias == "":
	case !aliasName.MatchString(s.Alias):
		report("alias", fmt.Sprintf("the alias is %q; letters, digits, _ and - can be in one", s.Alias))
	case aliasTaken.MatchString(s.Alias):
		report("alias", fmt.Sprintf("%s is no alias: it means the newest version, or that of a number", s.Alias))
	}
}

// Parse reads MODEL or MODEL@ALIAS, as MLflow names a version in models:/MODEL@ALIAS.
func Parse(text string) (model, alias string, err error) {
	model, alias, has := strings.Cut(text, "@")
	s := Settings{Model: model, Alias: alias}
	if model == "" || has && alias == "" {
		return "", "", fmt.Errorf("%q is no model: write MODEL or MODEL@ALIAS", text)
	}
	s.Check(func(_, message string) {
		if err == nil {
			err = fmt.Errorf("%q: %s", text, message)
		}
	})
	return model, alias, err
}

// Identity tells a run from all others by what travels with it: its id may be another one on
// another machine.
func Identity(run *history.Run) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", run.Info.StartTime, run.Info.EndTime,
		run.Tag(history.TagSnapshot), run.Tag(history.TagJob)))
	return hex.EncodeToString(sum[:8])
}
