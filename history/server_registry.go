package history

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"strconv"
)

type (
	registeredRef struct {
		Name string `json:"name" required:"true"`
	}
	versionRef struct {
		registeredRef
		Version Int `json:"version" required:"true"`
	}
	keyRef struct {
		Key string `json:"key" required:"true"`
	}
	aliasRef struct {
		registeredRef
		Alias string `json:"alias" required:"true"`
	}
)

func (q *versionRef) number() string { return strconv.FormatInt(int64(q.Version), 10) }

func registeredAnswer(m *RegisteredModel, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"registered_model": m}, nil
}

func versionAnswer(m *ModelVersion, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": m}, nil
}

// mayWriteRegistered refuses a change of a registered model that the client did not
// make, or that has versions of others by now. Every run may add versions to it.
func (v *Server) mayWriteRegistered(ctx context.Context, name string) error {
	if v.access.Run == "" {
		return nil
	}
	m, err := v.store.registeredModel(ctx, name)
	if err != nil {
		return err
	}
	all, err := v.store.versions(ctx, `name = ?`, name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m *ModelVersion) bool { return m.owner != v.access.Run }) {
		return v.mustOwn("", "registered model", name)
	}
	return v.mustOwn(m.owner, "registered model", name)
}

// mayWriteVersion refuses a change of a version that the client did not make.
func (v *Server) mayWriteVersion(ctx context.Context, name, version string) error {
	if v.access.Run == "" {
		return nil
	}
	m, err := v.store.version(ctx, name, version)
	if err != nil {
		return err
	}
	return v.mustOwn(m.owner, "model version", name+"/"+version)
}

func (v *Server) registryCalls() {
	s := v.store
	call(v, "POST registered-models/create", func(ctx context.Context, q *struct {
		registeredRef
		Description string          `json:"description"`
		Tags        batch[KeyValue] `json:"tags"`
	}) (any, error) {
		if err := v.reservedTags(q.Tags...); err != nil {
			return nil, err
		}
		return registeredAnswer(s.registerModel(ctx, RegisteredModel{Name: q.Name, Description: q.Description,
			Tags: q.Tags, owner: v.access.Run}))
	})
	call(v, "GET registered-models/get", func(ctx context.Context, q *registeredRef) (any, error) {
		return registeredAnswer(s.registeredModel(ctx, q.Name))
	})
	call(v, "GET registered-models/search", func(ctx context.Context, q *searchRef) (any, error) {
		query, err := q.query()
		if err != nil {
			return nil, err
		}
		list, token, err := s.searchRegistered(ctx, query)
		return page("registered_models", list, token, err)
	})
	call(v, "PATCH registered-models/update", func(ctx context.Context, q *struct {
		registeredRef
		Description string `json:"description"`
	}) (any, error) {
		m, err := s.registeredModel(ctx, q.Name)
		if err == nil && m.Description == q.Description {
			return registeredAnswer(m, nil) // the same again, by the next run of a script
		}
		if err == nil {
			err = v.mayWriteRegistered(ctx, q.Name)
		}
		if err == nil {
			err = s.describeRegistered(ctx, q.Name, q.Description)
		}
		if err != nil {
			return nil, err
		}
		return registeredAnswer(s.registeredModel(ctx, q.Name))
	})
	call(v, "POST registered-models/rename", func(ctx context.Context, q *struct {
		registeredRef
		NewName string `json:"new_name" required:"true"`
	}) (any, error) {
		if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
			return nil, err
		}
		if err := s.renameRegistered(ctx, q.Name, q.NewName); err != nil {
			return nil, err
		}
		return registeredAnswer(s.registeredModel(ctx, q.NewName))
	})
	call(v, "DELETE registered-models/delete", func(ctx context.Context, q *registeredRef) (any, error) {
		if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
			return nil, err
		}
		return nil, s.deleteRegistered(ctx, q.Name)
	})
	call(v, "POST registered-models/set-tag", func(ctx context.Context, q *struct {
		registeredRef
		keyRef
		Value string `json:"value"`
	}) (any, error) {
		tag := KeyValue{q.Key, q.Value}
		if err := v.reservedTags(tag); err != nil {
			return nil, err
		}
		m, err := s.registeredModel(ctx, q.Name)
		if err == nil && slices.Contains(m.Tags, tag) {
			return nil, nil
		}
		if err == nil {
			err = v.mayWriteRegistered(ctx, q.Name)
		}
		if err != nil {
			return nil, err
		}
		return nil, s.tagRegistered(ctx, q.Name, tag)
	})
	call(v, "DELETE registered-models/delete-tag", func(ctx context.Context, q *struct {
		registeredRef
		keyRef
	}) (any, error) {
		if err := v.reservedTags(KeyValue{Key: q.Key}); err != nil {
			return nil, err
		}
		if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
			return nil, err
		}
		return nil, s.untagRegistered(ctx, q.Name, q.Key)
	})
	v.aliasCalls()
	v.versionCalls()
}

func (v *Server) aliasCalls() {
	s := v.store
	latest := func(ctx context.Context, q *struct {
		registeredRef
		Stages batch[string] `json:"stages"`
	}) (any, error) {
		m, err := s.registeredModel(ctx, q.Name)
		if err != nil {
			return nil, err
		}
		var list []*ModelVersion
		for _, version := range m.Latest {
			if len(q.Stages) == 0 || slices.ContainsFunc(q.Stages,
				func(stage string) bool { s, _ := stageNamed(stage); return s == version.Stage }) {
				for _, a := range m.Aliases {
					if a.Version == version.Version {
						version.Aliases = append(version.Aliases, a.Alias)
					}
				}
				list = append(list, version)
			}
		}
		return page("model_versions", list, "", nil)
	}
	call(v, "POST registered-models/get-latest-versions", latest)
	call(v, "GET registered-models/get-latest-versions", latest)
	call(v, "GET registered-models/alias", func(ctx context.Context, q *aliasRef) (any, error) {
		return versionAnswer(s.aliased(ctx, q.Name, q.Alias))
	})
	// An alias is for all runs: each may point it to a version of its own.
	call(v, "POST registered-models/alias", func(ctx context.Context, q *struct {
		aliasRef
		Version Int `json:"version" required:"true"`
	}) (any, error) {
		version := strconv.FormatInt(int64(q.Version), 10)
		if err := v.mayWriteVersion(ctx, q.Name, version); err != nil {
			return nil, err
		}
		return nil, s.setAlias(ctx, q.Name, q.Alias, version)
	})
	call(v, "DELETE registered-models/alias", func(ctx context.Context, q *aliasRef) (any, error) {
		if m, err := s.aliased(ctx, q.Name, q.Alias); err == nil {
			if err := v.mayWriteVersion(ctx, q.Name, m.Version); err != nil {
				return nil, err
			}
		}
		return nil, s.deleteAlias(ctx, q.Name, q.Alias)
	})
}

func (v *Server) versionCalls() {
	s := v.store
	call(v, "POST model-versions/create", func(ctx context.Context, q *struct {
		registeredRef
		Source      string          `json:"source" required:"true"`
		RunID       string          `json:"run_id"`
		RunLink     string          `json:"run_link"`
		Description string          `json:"description"`
		ModelID     string          `json:"model_id"`
		Tags        batch[KeyValue] `json:"tags"`
	}) (any, error) {
		if err := v.reservedTags(q.Tags...); err != nil {
			return nil, err
		}
		m, err := s.createVersion(ctx, ModelVersion{Name: q.Name, Source: q.Source, RunID: q.RunID,
			RunLink: q.RunLink, Description: q.Description, Tags: q.Tags, owner: v.access.Run})
		if err == nil && q.ModelID != "" && v.mayWriteModel(ctx, q.ModelID) == nil {
			err = s.noteVersion(ctx, q.ModelID, m)
		}
		return versionAnswer(m, err)
	})
	call(v, "GET model-versions/get", func(ctx context.Context, q *versionRef) (any, error) {
		return versionAnswer(s.version(ctx, q.Name, q.number()))
	})
	call(v, "GET model-versions/get-download-uri", func(ctx context.Context, q *versionRef) (any, error) {
		m, err := s.version(ctx, q.Name, q.number())
		if err != nil {
			return nil, err
		}
		f, within, err := s.place(ctx, m.Source)
		if err != nil {
			return nil, err
		}
		uri := f.uri()
		if within != "" {
			uri += "/" + path.Clean(within)
		}
		return map[string]string{"artifact_uri": uri}, nil
	})
	call(v, "GET model-versions/search", func(ctx context.Context, q *searchRef) (any, error) {
		query, err := q.query()
		if err != nil {
			return nil, err
		}
		list, token, err := s.searchVersions(ctx, query)
		for _, m := range list {
			m.Aliases = nil // as MLflow's server leaves them out here
		}
		return page("model_versions", list, token, err)
	})
	call(v, "PATCH model-versions/update", func(ctx context.Context, q *struct {
		versionRef
		Description string `json:"description"`
	}) (any, error) {
		if err := v.mayWriteVersion(ctx, q.Name, q.number()); err != nil {
			return nil, err
		}
		if err := s.describeVersion(ctx, q.Name, q.number(), q.Description); err != nil {
			return nil, err
		}
		return versionAnswer(s.version(ctx, q.Name, q.number()))
	})
	call(v, "POST model-versions/transition-stage", func(ctx context.Context, q *struct {
		versionRef
		Stage   string `json:"stage" required:"true"`
		Archive bool   `json:"archive_existing_versions"`
	}) (any, error) {
		may := v.mayWriteVersion(ctx, q.Name, q.number())
		if q.Archive && may == nil { // it changes the other versions
			may = v.mayWriteRegistered(ctx, q.Name)
		}
		if may != nil {
			return nil, may
		}
		if err := s.stageVersion(ctx, q.Name, q.number(), q.Stage, q.Archive); err != nil {
			return nil, err
		}
		return versionAnswer(s.version(ctx, q.Name, q.number()))
	})
	call(v, "DELETE model-versions/delete", func(ctx context.Context, q *versionRef) (any, error) {
		if err := v.mayWriteVersion(ctx, q.Name, q.number()); err != nil {
			return nil, err
		}
		return nil, s.deleteVersion(ctx, q.Name, q.number())
	})
	call(v, "POST model-versions/set-tag", func(ctx context.Context, q *struct {
		versionRef
		keyRef
		Value string `json:"value"`
	}) (any, error) {
		if err := v.mayTagVersion(ctx, q.Name, q.number(), q.Key); err != nil {
			return nil, err
		}
		return nil, s.tagVersion(ctx, q.Name, q.number(), KeyValue{q.Key, q.Value})
	})
	call(v, "DELETE model-versions/delete-tag", func(ctx context.Context, q *struct {
		versionRef
		keyRef
	}) (any, error) {
		if err := v.mayTagVersion(ctx, q.Name, q.number(), q.Key); err != nil {
			return nil, err
		}
		return nil, s.untagVersion(ctx, q.Name, q.number(), q.Key)
	})
}

func (v *Server) mayTagVersion(ctx context.Context, name, version, key string) error {
	if err := v.reservedTags(KeyValue{Key: key}); err != nil {
		return err
	}
	return v.mayWriteVersion(ctx, name, version)
}

// noteVersion tells a logged model of a version that was made of it, as MLflow does: in
// a tag.
func (s *Store) noteVersion(ctx context.Context, model string, version *ModelVersion) error {
	const tag = "mlflow.modelVersions"
	m, err := s.model(ctx, model)
	if err != nil {
		return err
	}
	type note struct {
		Name    string `json:"name"`
		Version Int    `json:"version"`
	}
	var all []note
	for _, t := range m.Info.Tags {
		if t.Key == tag {
			json.Unmarshal([]byte(t.Value), &all) // an unreadable one starts anew
		}
	}
	n, err := strconv.Atoi(version.Version)
	if err != nil {
		return err
	}
	text, err := json.Marshal(append(all, note{version.Name, Int(n)}))
	if err != nil {
		return err
	}
	return s.setModel(ctx, model, modelTags, []KeyValue{{tag, string(text)}})
}
