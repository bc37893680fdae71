package history

import (
	"context"
	"database/sql"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/internal/clip"
)

// ModelVersion is a version of a registered model.
type ModelVersion struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	Created     Int        `json:"creation_timestamp"`
	Updated     Int        `json:"last_updated_timestamp"`
	Stage       string     `json:"current_stage"`
	Description string     `json:"description,omitempty"`
	Source      string     `json:"source"`
	RunID       string     `json:"run_id,omitempty"`
	Status      string     `json:"status"`
	RunLink     string     `json:"run_link,omitempty"`
	Tags        []KeyValue `json:"tags,omitempty"`
	Aliases     []string   `json:"aliases,omitempty"`

	owner string
	from  string // its source; of a copy, that of the version that was copied, which it outlives
}

var stages = []string{stageNone, "Staging", "Production", "Archived"}

func stageNamed(stage string) (string, error) {
	for _, s := range stages {
		if strings.EqualFold(s, stage) {
			return s, nil
		}
	}
	return "", invalid("Invalid Model Version stage: %s. Value must be one of %s.", clip.Bytes(stage, 60),
		strings.Join(stages, ", "))
}

// latest adds the last version of each stage, in the order in which the stages' first
// versions came.
func (s *Store) latest(ctx context.Context, models map[string]*RegisteredModel) error {
	for name, m := range models {
		list, err := s.versions(ctx,
			`name = ? AND version IN (SELECT max(version) FROM model_versions WHERE name = ? AND current_stage != '`+
				stageDeleted+`' GROUP BY current_stage) ORDER BY (SELECT min(version) FROM model_versions f
				WHERE f.name = model_versions.name AND f.current_stage = model_versions.current_stage)`, name, name)
		if err != nil {
			return err
		}
		for _, v := range list {
			v.Aliases = nil // they stand beside the versions here
		}
		m.Latest = list
	}
	return nil
}

// tagCopied is the version that one is a copy of, as models:/NAME/VERSION.
const tagCopied = "aml-train.copied"

// keep adds a tag, unless it is the one that says who made the thing.
func keep(kv KeyValue, tags *[]KeyValue, owner *string) {
	if kv.Key == tagOwner {
		*owner = kv.Value
		return
	}
	*tags = append(*tags, kv)
}

func scanVersion(row scanner) (*ModelVersion, error) {
	v := &ModelVersion{}
	err := row.Scan(&v.Name, &v.Version, &v.Created, &v.Updated, &v.Stage, &v.Description, &v.Source, &v.RunID,
		&v.Status, &v.RunLink)
	v.from = v.Source
	return v, err
}

// versions runs a query of versions that are not deleted and adds what belongs to them.
func (s *Store) versions(ctx context.Context, where string, args ...any) ([]*ModelVersion, error) {
	list, err := query(ctx, s.db, scanVersion, `SELECT name, version, coalesce(creation_time, 0),
		coalesce(last_updated_time, 0), coalesce(current_stage, 'None'), coalesce(description, ''),
		coalesce(source, ''), coalesce(run_id, ''), coalesce(status, 'READY'), coalesce(run_link, '') FROM
			model_versions WHERE current_stage != '`+stageDeleted+`' AND `+where, args...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*ModelVersion{}
	for _, v := range list {
		byID[v.Name+"/"+v.Version] = v
	}
	return list, errors.Join(
		eachOf(ctx, s.db, byID, `SELECT name || '/' || version, key, coalesce(value, '') FROM model_version_tags WHERE
			name || '/' || version IN %s ORDER BY key`,
			func(row scanner) (id string, add func(*ModelVersion), err error) {
				var kv KeyValue
				err = row.Scan(&id, &kv.Key, &kv.Value)
				return id, func(v *ModelVersion) {
					if kv.Key == tagCopied {
						v.Source = kv.Value
						return
					}
					keep(kv, &v.Tags, &v.owner)
				}, err
			}),
		eachOf(ctx, s.db, byID, `SELECT name || '/' || version, alias FROM registered_model_aliases WHERE name || '/'
			|| version IN %s ORDER BY alias`,
			func(row scanner) (id string, add func(*ModelVersion), err error) {
				var alias string
				err = row.Scan(&id, &alias)
				return id, func(v *ModelVersion) { v.Aliases = append(v.Aliases, alias) }, err
			}))
}

func (s *Store) version(ctx context.Context, name, version string) (*ModelVersion, error) {
	if err := checkModelName(name); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(version)
	if err != nil {
		return nil, invalid("Parameter 'version' must be an integer, got '%s'.", clip.Bytes(version, 60))
	}
	return one(s.versions(ctx, `name = ? AND version = ?`, name,
		n))(notFound("Model Version (name=%s, version=%d) not found", name, n))
}

// aliased returns the version that an alias names; "latest" is the newest.
func (s *Store) aliased(ctx context.Context, name, alias string) (*ModelVersion, error) {
	m, err := s.registeredModel(ctx, name)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(alias, "latest") {
		return one(s.versions(ctx, `name = ? ORDER BY version DESC LIMIT 1`,
			name))(notFound("Latest version not found for model %s.", name))
	}
	for _, a := range m.Aliases {
		if a.Alias == alias {
			return s.version(ctx, name, a.Version)
		}
	}
	return nil, invalid("Registered model alias %s not found.", clip.Bytes(alias, maxKey))
}

func setVersionTags(tx *sql.Tx, name string, version int, tags []KeyValue) error {
	var args []any
	for _, t := range tags {
		args = append(args, name, version, t.Key, t.Value)
	}
	return insert(tx, `INSERT OR REPLACE INTO model_version_tags (name, version, key, value)`, 4, args, "")
}

// place finds the artifacts of a version's source: those of a run, of a logged model, or
// of another version. Nothing outside the history can be a source.
func (s *Store) place(ctx context.Context, source string) (f folder, within string, err error) {
	bad := invalid("Invalid model version source: '%s'. It has to be models:/MODEL_ID, models:/NAME/VERSION, "+
		"runs:/RUN/PATH or mlflow-artifacts:/PATH of this run history", clip.Bytes(source, 300))
	scheme, rest, _ := strings.Cut(source, ":/")
	if strings.HasPrefix(rest, "/") || strings.ContainsAny(rest, "%#?;") {
		return f, "", bad
	}
	switch scheme {
	case "models":
		name, version, ok := strings.Cut(rest, "/")
		if !ok {
			m, err := s.model(ctx, name)
			if NotFound(err) {
				err = bad
			}
			if err != nil {
				return f, "", err
			}
			return modelFolder(m), "", nil
		}
		v, err := s.version(ctx, name, version)
		if err != nil {
			return f, "", err
		}
		if strings.HasPrefix(v.from, "models:/") && strings.Contains(v.from[len("models:/"):], "/") {
			return f, "", bad // versions are recorded with what they stand for
		}
		return s.place(ctx, v.from)
	case "runs":
		run, dir, _ := strings.Cut(rest, "/")
		r, err := s.Run(ctx, run)
		if err == nil {
			dir, err = cleanArtifact(dir)
		}
		if err != nil {
			return f, "", err
		}
		return folderOf(r), dir, nil
	case "mlflow-artifacts":
		return s.findFolder(ctx, rest)
	}
	return f, "", bad
}

// prompt tells a version of a prompt, which has no artifacts: it has the tag, and what
// MLflow's client gives as a prompt's source.
func (v *ModelVersion) prompt() bool {
	return (v.Source == "prompt-template" || v.Source == "dummy-source") && ofPrompt(v.Tags)
}

func ofPrompt(tags []KeyValue) bool {
	return slices.ContainsFunc(tags, func(t KeyValue) bool { return t.Key == promptTag && t.Value == "true" })
}

// noPrompt refuses to copy a version of a prompt.
func (s *Store) noPrompt(ctx context.Context, name string) error {
	list, err := s.registered(ctx, `name = ?`, name)
	if err == nil && len(list) == 1 && ofPrompt(list[0].Tags) {
		err = invalid("Invalid model version source: %s is a prompt, of which no version can be copied", name)
	}
	return err
}

// createVersion adds a version of a registered model.
func (s *Store) createVersion(ctx context.Context, v ModelVersion) (*ModelVersion, error) {
	if err := errors.Join(checkModelName(v.Name), checkModelTags(v.Tags)); err != nil {
		return nil, err
	}
	var f folder
	var within string
	if !v.prompt() { // a prompt's text is among its tags
		var err error
		if f, within, err = s.place(ctx, v.Source); err != nil {
			return nil, err
		}
	}
	v.from = v.Source
	if rest, ok := strings.CutPrefix(v.Source, "models:/"); ok && strings.Contains(rest, "/") {
		name, _, _ := strings.Cut(rest, "/")
		if err := s.noPrompt(ctx, name); err != nil {
			return nil, err
		}
		v.Tags = append(slices.Clone(v.Tags), KeyValue{tagCopied, v.Source})
		v.from = path.Join(f.uri(), within)
	}
	if v.RunID == "" && f.model != "" {
		m, err := s.model(ctx, f.model)
		if err != nil {
			return nil, err
		}
		v.RunID = m.Info.SourceRunID
	}
	number := 0
	err := s.changeRegistered(ctx, v.Name, func(tx *sql.Tx) error {
		if err := tx.QueryRow(`SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE name = ?`,
			v.Name).Scan(&number); err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		// The place is for MLflow's own server; ours follows from the source.
		at := v.Source
		if !v.prompt() {
			at = s.location(path.Join(append(f.parts()[1:], within)...))
		}
		if _, err := tx.Exec(`INSERT INTO model_versions (name, version, creation_time, last_updated_time,
			description, current_stage, source, run_id, status, run_link, storage_location)
			VALUES (?, ?, ?, ?, ?, 'None', ?, nullif(?, ''), 'READY', ?, ?)`, v.Name, number, now, now, v.Description,
			v.from, v.RunID, v.RunLink, at); err != nil {
			return err
		}
		return setVersionTags(tx, v.Name, number, owned(v.Tags, v.owner))
	})
	if err != nil {
		return nil, err
	}
	return s.version(ctx, v.Name, strconv.Itoa(number))
}

// changeVersion runs f in a transaction, where the version exists.
func (s *Store) changeVersion(ctx context.Context, name, version string, f func(tx *sql.Tx, version int) error) error {
	v, err := s.version(ctx, name, version)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(v.Version)
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		res, err := tx.Exec(`UPDATE model_versions SET last_updated_time = ? WHERE name = ? AND version = ? AND
			current_stage != '`+stageDeleted+`'`, time.Now().UnixMilli(), name, n)
		if err := changed(res, err, notFound("Model Version (name=%s, version=%d) not found", name, n)); err != nil {
			return err
		}
		return f(tx, n)
	})
}

func (s *Store) describeVersion(ctx context.Context, name, version, description string) error {
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		_, err := tx.Exec(`UPDATE model_versions SET description = ? WHERE name = ? AND version = ?`,
			description, name, n)
		return err
	})
}

// stageVersion moves a version to a stage, and archives those that are there if archive
// is set.
func (s *Store) stageVersion(ctx context.Context, name, version, stage string, archive bool) error {
	to, err := stageNamed(stage)
	if err == nil && archive && to != "Staging" && to != "Production" {
		err = invalid("Model version transition cannot archive existing model versions because '%s' is not an Active "+
			"stage. Valid stages are Staging, Production", to)
	}
	if err != nil {
		return err
	}
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		if archive {
			if _, err := tx.Exec(`UPDATE model_versions SET current_stage = 'Archived', last_updated_time = ? WHERE
				name = ? AND version != ? AND current_stage = ?`, time.Now().UnixMilli(), name, n, to); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`UPDATE model_versions SET current_stage = ? WHERE name = ? AND version = ?`, to, name, n)
		return err
	})
}

// deleteVersion keeps the number, so that no other version gets it, and nothing else.
func (s *Store) deleteVersion(ctx context.Context, name, version string) error {
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		if _, err := tx.Exec(`DELETE FROM registered_model_aliases WHERE name = ? AND version = ?`, name,
			n); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE model_versions SET current_stage = '`+stageDeleted+
			`', description = NULL, user_id = NULL, source = 'REDACTED-SOURCE-PATH',
			run_id = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK', status_message = NULL WHERE name = ? AND version = ?`,
			name, n)
		return err
	})
}

func (s *Store) tagVersion(ctx context.Context, name, version string, tag KeyValue) error {
	if err := checkModelTags([]KeyValue{tag}); err != nil {
		return err
	}
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		return setVersionTags(tx, name, n,
			[]KeyValue{tag})
	})
}

func (s *Store) untagVersion(ctx context.Context, name, version, key string) error {
	if err := errors.Join(checkModelName(name), checkName("tag", key)); err != nil {
		return err
	}
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		_, err := tx.Exec(`DELETE FROM model_version_tags WHERE name = ? AND version = ? AND key = ?`, name, n, key)
		return err
	})
}
