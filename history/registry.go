package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/lazyregexp"
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

const (
	stageNone    = "None"
	stageDeleted = "Deleted_Internal"
	maxModelTag  = 100_000
)

func checkModelName(name string) error {
	if strings.TrimSpace(name) == "" {
		return invalid("Missing value for required parameter 'name'.")
	}
	if strings.ContainsAny(name, "/:") || name == "." || name == ".." {
		return invalid("Invalid model name '%s'. Names cannot contain '/' or ':'.", clip.Bytes(name, maxKey))
	}
	if len(name) > 256 {
		return invalid("A registered model's name has at most 256 characters, not %d", len(name))
	}
	return nil
}

var (
	aliasName    = lazyregexp.New(`^[\pL\pN_\-]+$`) // of at most 255
	aliasVersion = lazyregexp.New(`^[vV]\d+$`)
)

func checkAlias(alias string) error {
	switch {
	case !aliasName.MatchString(alias) || utf8.RuneCountInString(alias) > 255:
		return invalid("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes "+
			"(-).", clip.Bytes(alias, maxKey))
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

func noRegistered(name string) error {
	return notFound("Registered Model with name=%s not found", clip.Bytes(name, 256))
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

func (s *Store) registeredModel(ctx context.Context, name string) (*RegisteredModel, error) {
	if err := checkModelName(name); err != nil {
		return nil, err
	}
	return one(s.registered(ctx, `name = ?`, name))(noRegistered(name))
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
	if err := errors.Join(checkModelName(name), checkName("tag", key)); err != nil {
		return err
	}
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
	if err := checkAlias(alias); err != nil {
		return err
	}
	return s.changeRegistered(ctx, name, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM registered_model_aliases WHERE name = ? AND alias = ?`, name, alias)
		return err
	})
}
