package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// RegisteredModel is a name under which versions of a model are found
// (mlflow/protos/model_registry.proto).
type RegisteredModel struct {
	Name        string          `json:"name"`
	Created     Int             `json:"creation_timestamp"`
	Updated     Int             `json:"last_updated_timestamp"`
	Description string          `json:"description,omitempty"`
	Latest      []*ModelVersion `json:"latest_versions,omitempty"` // of each stage
	Tags        []KeyValue      `json:"tags,omitempty"`
	Aliases     []Alias         `json:"aliases,omitempty"`

	owner string // the run whose script made it
}

// Alias is another name of a version, such as champion.
type Alias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

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
}

const (
	stageNone    = "None"
	stageDeleted = "Deleted_Internal"
	maxModelTag  = 100_000
)

var stages = []string{stageNone, "Staging", "Production", "Archived"}

func checkModelName(name string) error {
	if strings.TrimSpace(name) == "" {
		return invalid("Missing value for required parameter 'name'.")
	}
	if strings.ContainsAny(name, "/:") || name == "." || name == ".." {
		return invalid("Invalid model name '%s'. Names cannot contain '/' or ':'.", clip(name, maxKey))
	}
	if len(name) > 256 {
		return invalid("A registered model's name has at most 256 characters, not %d", len(name))
	}
	return nil
}

var (
	aliasName    = regexp.MustCompile(`^[\pL\pN_\-]{1,255}$`)
	aliasVersion = regexp.MustCompile(`^[vV]\d+$`)
)

func checkAlias(alias string) error {
	switch {
	case !aliasName.MatchString(alias):
		return invalid("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes "+
			"(-).", clip(alias, maxKey))
	case strings.EqualFold(alias, "latest"):
		return invalid("'latest' alias name (case insensitive) is reserved.")
	case aliasVersion.MatchString(alias):
		return invalid("Version alias name '%s' is reserved.", alias)
	}
	return nil
}

func checkModelTags(tags []KeyValue) error {
	for _, t := range tags {
		if err := checkKey("tag", t.Key); err != nil {
			return err
		}
		if utf8.RuneCountInString(t.Value) > maxModelTag {
			return invalid("'value' exceeds the maximum length of %d characters", maxModelTag)
		}
	}
	return nil
}

func stageNamed(stage string) (string, error) {
	for _, s := range stages {
		if strings.EqualFold(s, stage) {
			return s, nil
		}
	}
	return "", invalid("Invalid Model Version stage: %s. Value must be one of %s.", clip(stage, 60),
		strings.Join(stages, ", "))
}

func noRegistered(name string) error {
	return notFound("Registered Model with name=%s not found", clip(name, 256))
}

// registered runs a query of registered models and adds what belongs to them.
func (s *Store) registered(ctx context.Context, where string, args ...any) ([]*RegisteredModel, error) {
	list, err := query(ctx, s.db, func(row scanner) (*RegisteredModel, error) {
		m := &RegisteredModel{}
		return m, row.Scan(&m.Name, &m.Created, &m.Updated, &m.Description)
	}, `SELECT name, coalesce(creation_time, 0), coalesce(last_updated_time, 0), coalesce(description, '') FROM registered_models WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	byName := map[string]*RegisteredModel{}
	for _, m := range list {
		byName[m.Name] = m
	}
	return list, errors.Join(
		eachOf(ctx, s.db, byName, `SELECT name, key, coalesce(value, '') FROM registered_model_tags WHERE name IN %s ORDER BY key`,
			func(row scanner) (name string, add func(*RegisteredModel), err error) {
				var kv KeyValue
				err = row.Scan(&name, &kv.Key, &kv.Value)
				return name, func(m *RegisteredModel) { keep(kv, &m.Tags, &m.owner) }, err
			}),
		eachOf(ctx, s.db, byName, `SELECT name, alias, version FROM registered_model_aliases WHERE name IN %s ORDER BY alias`,
			func(row scanner) (name string, add func(*RegisteredModel), err error) {
				var a Alias
				err = row.Scan(&name, &a.Alias, &a.Version)
				return name, func(m *RegisteredModel) { m.Aliases = append(m.Aliases, a) }, err
			}),
		s.latest(ctx, byName))
}

// latest adds the last version of each stage.
func (s *Store) latest(ctx context.Context, models map[string]*RegisteredModel) error {
	for name, m := range models {
		list, err := s.versions(ctx, `name = ? AND version IN (SELECT max(version) FROM model_versions WHERE name = ? AND current_stage != '`+stageDeleted+`' GROUP BY current_stage) ORDER BY version`, name, name)
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
	return v, err
}

// versions runs a query of versions that are not deleted and adds what belongs to them.
func (s *Store) versions(ctx context.Context, where string, args ...any) ([]*ModelVersion, error) {
	list, err := query(ctx, s.db, scanVersion, `SELECT name, version, coalesce(creation_time, 0), coalesce(last_updated_time, 0), coalesce(current_stage, 'None'), coalesce(description, ''),
		coalesce(source, ''), coalesce(run_id, ''), coalesce(status, 'READY'), coalesce(run_link, '') FROM model_versions WHERE current_stage != '`+stageDeleted+`' AND `+where, args...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*ModelVersion{}
	for _, v := range list {
		byID[v.Name+"/"+v.Version] = v
	}
	return list, errors.Join(
		eachOf(ctx, s.db, byID, `SELECT name || '/' || version, key, coalesce(value, '') FROM model_version_tags WHERE name || '/' || version IN %s ORDER BY key`,
			func(row scanner) (id string, add func(*ModelVersion), err error) {
				var kv KeyValue
				err = row.Scan(&id, &kv.Key, &kv.Value)
				return id, func(v *ModelVersion) { keep(kv, &v.Tags, &v.owner) }, err
			}),
		eachOf(ctx, s.db, byID, `SELECT name || '/' || version, alias FROM registered_model_aliases WHERE name || '/' || version IN %s ORDER BY alias`,
			func(row scanner) (id string, add func(*ModelVersion), err error) {
				var alias string
				err = row.Scan(&id, &alias)
				return id, func(v *ModelVersion) { v.Aliases = append(v.Aliases, alias) }, err
			}))
}

func (s *Store) registeredModel(ctx context.Context, name string) (*RegisteredModel, error) {
	if err := checkModelName(name); err != nil {
		return nil, err
	}
	return one(s.registered(ctx, `name = ?`, name))(noRegistered(name))
}

func (s *Store) version(ctx context.Context, name, version string) (*ModelVersion, error) {
	if err := checkModelName(name); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(version)
	if err != nil {
		return nil, invalid("Parameter 'version' must be an integer, got '%s'.", clip(version, 60))
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
	return nil, invalid("Registered model alias %s not found.", clip(alias, maxKey))
}

func (s *Store) registerModel(ctx context.Context, m RegisteredModel) (*RegisteredModel, error) {
	if err := errors.Join(checkModelName(m.Name), checkModelTags(m.Tags)); err != nil {
		return nil, err
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		now := time.Now().UnixMilli()
		res, err := tx.Exec(`INSERT OR IGNORE INTO registered_models (name, creation_time, last_updated_time, description) VALUES (?, ?, ?, ?)`, m.Name, now, now, m.Description)
		if err := changed(res, err, &Error{codeExists,
			fmt.Sprintf("Registered Model (name=%s) already exists.", m.Name)}); err != nil {
			return err
		}
		return setRegisteredTags(tx, m.Name, owned(m.Tags, m.owner))
	})
	if err != nil {
		return nil, err
	}
	return s.registeredModel(ctx, m.Name)
}

// owned adds the tag that says who made a thing.
func owned(tags []KeyValue, owner string) []KeyValue {
	if owner == "" {
		return tags
	}
	return append(slices.Clone(tags), KeyValue{tagOwner, owner})
}

func setRegisteredTags(tx *sql.Tx, name string, tags []KeyValue) error {
	var args []any
	for _, t := range tags {
		args = append(args, name, t.Key, t.Value)
	}
	return insert(tx, `INSERT OR REPLACE INTO registered_model_tags (name, key, value)`, 3, args, "")
}

func setVersionTags(tx *sql.Tx, name string, version int, tags []KeyValue) error {
	var args []any
	for _, t := range tags {
		args = append(args, name, version, t.Key, t.Value)
	}
	return insert(tx, `INSERT OR REPLACE INTO model_version_tags (name, version, key, value)`, 4, args, "")
}

// changeRegistered runs f in a transaction, where the registered model exists.
func (s *Store) changeRegistered(ctx context.Context, name string, f func(*sql.Tx) error) error {
	if err := checkModelName(name); err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`UPDATE registered_models SET last_updated_time = ? WHERE name = ?`,
			time.Now().UnixMilli(), name)
		if err := changed(res, err, noRegistered(name)); err != nil {
			return err
		}
		return f(tx)
	})
}

func (s *Store) describeRegistered(ctx context.Context, name, description string) error {
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE registered_models SET description = ? WHERE name = ?`, description, name)
		return err
	})
}

func (s *Store) renameRegistered(ctx context.Context, name, to string) error {
	if err := checkModelName(to); err != nil {
		return err
	}
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		taken, err := query(ctx, tx, value[int], `SELECT 1 FROM registered_models WHERE name = ?`, to)
		if err == nil && len(taken) > 0 && to != name {
			err = &Error{codeExists, fmt.Sprintf("Registered Model (name=%s) already exists.", to)}
		}
		if err == nil { // the tables that name it follow
			_, err = tx.Exec(`UPDATE registered_models SET name = ? WHERE name = ?`, to, name)
		}
		return err
	})
}

func (s *Store) deleteRegistered(ctx context.Context, name string) error {
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		for _, table := range []string{"registered_model_aliases", "model_version_tags", "model_versions",
			"registered_model_tags", "registered_models"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE name = ?`, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) tagRegistered(ctx context.Context, name string, tag KeyValue) error {
	if err := checkModelTags([]KeyValue{tag}); err != nil {
		return err
	}
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error { return setRegisteredTags(tx, name, []KeyValue{tag}) })
}

func (s *Store) untagRegistered(ctx context.Context, name, key string) error {
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM registered_model_tags WHERE name = ? AND key = ?`, name, key)
		return err
	})
}

func (s *Store) setAlias(ctx context.Context, name, alias, version string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	v, err := s.version(ctx, name, version)
	if err != nil {
		return err
	}
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT OR REPLACE INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)`,
			name, alias, v.Version)
		return err
	})
}

func (s *Store) deleteAlias(ctx context.Context, name, alias string) error {
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM registered_model_aliases WHERE name = ? AND alias = ?`, name, alias)
		return err
	})
}

// place finds the artifacts of a version's source: those of a run, of a logged model, or
// of another version. Nothing outside the history can be a source.
func (s *Store) place(ctx context.Context, source string) (f folder, within string, err error) {
	bad := invalid("Invalid model version source: '%s'. It has to be models:/MODEL_ID, models:/NAME/VERSION, "+
		"runs:/RUN/PATH or mlflow-artifacts:/PATH of this run history", clip(source, 300))
	scheme, rest, _ := strings.Cut(source, ":/")
	if strings.HasPrefix(rest, "/") || strings.ContainsAny(rest, "%#?;") {
		return f, "", bad
	}
	switch scheme {
	case "models":
		name, version, ok := strings.Cut(rest, "/")
		if !ok {
			m, err := s.model(ctx, name)
			if err != nil {
				return f, "", err
			}
			return modelFolder(m), "", nil
		}
		v, err := s.version(ctx, name, version)
		if err != nil {
			return f, "", err
		}
		if strings.HasPrefix(v.Source, "models:/") && strings.Contains(v.Source[len("models:/"):], "/") {
			return f, "", bad // versions are recorded with what they stand for
		}
		return s.place(ctx, v.Source)
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

// createVersion adds a version of a registered model.
func (s *Store) createVersion(ctx context.Context, v ModelVersion) (*ModelVersion, error) {
	if err := errors.Join(checkModelName(v.Name), checkModelTags(v.Tags)); err != nil {
		return nil, err
	}
	f, within, err := s.place(ctx, v.Source)
	if err != nil {
		return nil, err
	}
	if rest, ok := strings.CutPrefix(v.Source, "models:/"); ok && strings.Contains(rest, "/") {
		v.Source = path.Join(f.uri(), within)
	}
	if v.RunID == "" && f.model != "" {
		m, err := s.model(ctx, f.model)
		if err != nil {
			return nil, err
		}
		v.RunID = m.Info.SourceRunID
	}
	number := 0
	err = s.changeRegistered(ctx, v.Name, func(tx *sql.Tx) error {
		if err := tx.QueryRow(`SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE name = ?`,
			v.Name).Scan(&number); err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		// The place is for MLflow's own server; ours follows from the source.
		at := s.location(path.Join(append(f.parts()[1:], within)...))
		if _, err := tx.Exec(`INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, current_stage, source, run_id, status, run_link, storage_location)
			VALUES (?, ?, ?, ?, ?, 'None', ?, nullif(?, ''), 'READY', ?, ?)`, v.Name, number, now, now, v.Description, v.Source, v.RunID, v.RunLink, at); err != nil {
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
		res, err := tx.Exec(`UPDATE model_versions SET last_updated_time = ? WHERE name = ? AND version = ? AND current_stage != '`+stageDeleted+`'`, time.Now().UnixMilli(), name, n)
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
			if _, err := tx.Exec(`UPDATE model_versions SET current_stage = 'Archived', last_updated_time = ? WHERE name = ? AND version != ? AND current_stage = ?`, time.Now().UnixMilli(), name, n, to); err != nil {
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
		_, err := tx.Exec(`UPDATE model_versions SET current_stage = '`+stageDeleted+`', description = NULL, user_id = NULL, source = 'REDACTED-SOURCE-PATH',
			run_id = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK', status_message = NULL WHERE name = ? AND version = ?`, name, n)
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
	return s.changeVersion(ctx, name, version, func(tx *sql.Tx, n int) error {
		_, err := tx.Exec(`DELETE FROM model_version_tags WHERE name = ? AND version = ? AND key = ?`, name, n, key)
		return err
	})
}
