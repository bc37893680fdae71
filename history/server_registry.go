package history

import (
	"context"
	"encoding/json"
	"errors"
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
	call(v, "POST registered-models/create", v.createRegistered)
	call(v, "GET registered-models/get", v.getRegistered)
	call(v, "GET registered-models/search", v.searchRegistered)
	call(v, "PATCH registered-models/update", v.updateRegistered)
	call(v, "POST registered-models/rename", v.renameRegistered)
	call(v, "DELETE registered-models/delete", v.deleteRegistered)
	call(v, "POST registered-models/set-tag", v.setRegisteredTag)
	call(v, "DELETE registered-models/delete-tag", v.deleteRegisteredTag)
	v.aliasCalls()
	v.versionCalls()
}

func (v *Server) createRegistered(ctx context.Context, q *struct {
	registeredRef
	Description string          `json:"description"`
	Tags        batch[KeyValue] `json:"tags"`
}) (any, error) {
	if err := v.reservedTags(q.Tags...); err != nil {
		return nil, err
	}
	return registeredAnswer(v.store.registerModel(ctx, RegisteredModel{Name: q.Name, Description: q.Description,
		Tags: q.Tags, owner: v.access.Run}))
}

func (v *Server) getRegistered(ctx context.Context, q *registeredRef) (any, error) {
	return registeredAnswer(v.store.registeredModel(ctx, q.Name))
}

func (v *Server) searchRegistered(ctx context.Context, q *searchRef) (any, error) {
	query, err := q.query()
	if err != nil {
		return nil, err
	}
	list, token, err := v.store.searchRegistered(ctx, query)
	return page("registered_models", list, token, err)
}

func (v *Server) updateRegistered(ctx context.Context, q *struct {
	registeredRef
	Description string `json:"description"`
}) (any, error) {
	m, err := v.store.registeredModel(ctx, q.Name)
	if err == nil && m.Description == q.Description {
		return registeredAnswer(m, nil) // the same again, by the next run of a script
	}
	if err == nil {
		err = v.mayWriteRegistered(ctx, q.Name)
	}
	if err == nil {
		err = v.store.describeRegistered(ctx, q.Name, q.Description)
	}
	if err != nil {
		return nil, err
	}
	return registeredAnswer(v.store.registeredModel(ctx, q.Name))
}

func (v *Server) renameRegistered(ctx context.Context, q *struct {
	registeredRef
	NewName string `json:"new_name" required:"true"`
}) (any, error) {
	if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
		return nil, err
	}
	if err := v.store.renameRegistered(ctx, q.Name, q.NewName); err != nil {
		return nil, err
	}
	return registeredAnswer(v.store.registeredModel(ctx, q.NewName))
}

func (v *Server) deleteRegistered(ctx context.Context, q *registeredRef) (any, error) {
	if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
		return nil, err
	}
	return nil, v.store.deleteRegistered(ctx, q.Name)
}

func (v *Server) setRegisteredTag(ctx context.Context, q *struct {
	registeredRef
	keyRef
	Value string `json:"value"`
}) (any, error) {
	tag := KeyValue{q.Key, q.Value}
	if err := errors.Join(v.reservedTags(tag), checkModelTags([]KeyValue{tag})); err != nil {
		return nil, err
	}
	m, err := v.store.registeredModel(ctx, q.Name)
	if err == nil && slices.Contains(m.Tags, tag) {
		return nil, nil
	}
	if err == nil {
		err = v.mayWriteRegistered(ctx, q.Name)
	}
	if err != nil {
		return nil, err
	}
	return nil, v.store.tagRegistered(ctx, q.Name, tag)
}

func (v *Server) deleteRegisteredTag(ctx context.Context, q *struct {
	registeredRef
	keyRef
}) (any, error) {
	if err := v.reservedTags(KeyValue{Key: q.Key}); err != nil {
		return nil, err
	}
	if err := v.mayWriteRegistered(ctx, q.Name); err != nil {
		return nil, err
	}
	return nil, v.store.untagRegistered(ctx, q.Name, q.Key)
}

func (v *Server) aliasCalls() {
	call(v, "POST registered-models/get-latest-versions", v.getLatestVersions)
	call(v, "GET registered-models/get-latest-versions", v.getLatestVersions)
	call(v, "GET registered-models/alias", v.getAlias)
	call(v, "POST registered-models/alias", v.setAlias)
	call(v, "DELETE registered-models/alias", v.deleteAlias)
}

func (v *Server) getLatestVersions(ctx context.Context, q *struct {
	registeredRef
	Stages batch[string] `json:"stages"`
}) (any, error) {
	m, err := v.store.registeredModel(ctx, q.Name)
	for i := range q.Stages {
		if err == nil {
			q.Stages[i], err = stageNamed(q.Stages[i])
		}
	}
	if err != nil {
		return nil, err
	}
	var list []*ModelVersion
	for _, version := range m.Latest {
		if len(q.Stages) == 0 || slices.Contains(q.Stages, version.Stage) {
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

func (v *Server) getAlias(ctx context.Context, q *aliasRef) (any, error) {
	return versionAnswer(v.store.aliased(ctx, q.Name, q.Alias))
}

// setAlias points an alias, which is for all runs, to a version that the run itself made.
func (v *Server) setAlias(ctx context.Context, q *struct {
	aliasRef
	Version Int `json:"version" required:"true"`
}) (any, error) {
	version := strconv.FormatInt(int64(q.Version), 10)
	if err := v.mayWriteVersion(ctx, q.Name, version); err != nil {
		return nil, err
	}
	return nil, v.store.setAlias(ctx, q.Name, q.Alias, version)
}

func (v *Server) deleteAlias(ctx context.Context, q *aliasRef) (any, error) {
	if m, err := v.store.aliased(ctx, q.Name, q.Alias); err == nil {
		if err := v.mayWriteVersion(ctx, q.Name, m.Version); err != nil {
			return nil, err
		}
	}
	return nil, v.store.deleteAlias(ctx, q.Name, q.Alias)
}

func (v *Server) versionCalls() {
	call(v, "POST model-versions/create", v.createVersion)
	call(v, "GET model-versions/get", v.getVersion)
	call(v, "GET model-versions/get-download-uri", v.getDownloadURI)
	call(v, "GET model-versions/search", v.searchVersions)
	call(v, "PATCH model-versions/update", v.updateVersion)
	call(v, "POST model-versions/transition-stage", v.transitionStage)
	call(v, "DELETE model-versions/delete", v.deleteVersion)
	call(v, "POST model-versions/set-tag", v.setVersionTag)
	call(v, "DELETE model-versions/delete-tag", v.deleteVersionTag)
}

func (v *Server) createVersion(ctx context.Context, q *struct {
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
	m, err := v.store.createVersion(ctx, ModelVersion{Name: q.Name, Source: q.Source, RunID: q.RunID,
		RunLink: q.RunLink, Description: q.Description, Tags: q.Tags, owner: v.access.Run})
	if err == nil && q.ModelID != "" && v.mayWriteModel(ctx, q.ModelID) == nil {
		err = v.store.noteVersion(ctx, q.ModelID, m)
	}
	return versionAnswer(m, err)
}

func (v *Server) getVersion(ctx context.Context, q *versionRef) (any, error) {
	return versionAnswer(v.store.version(ctx, q.Name, q.number()))
}

func (v *Server) getDownloadURI(ctx context.Context, q *versionRef) (any, error) {
	m, err := v.store.version(ctx, q.Name, q.number())
	if err != nil {
		return nil, err
	}
	if m.prompt() {
		return map[string]string{"artifact_uri": m.Source}, nil
	}
	f, within, err := v.store.place(ctx, m.from)
	if err != nil {
		return nil, err
	}
	uri := f.uri()
	if within != "" {
		uri += "/" + path.Clean(within)
	}
	return map[string]string{"artifact_uri": uri}, nil
}

func (v *Server) searchVersions(ctx context.Context, q *searchRef) (any, error) {
	query, err := q.query()
	if err != nil {
		return nil, err
	}
	list, token, err := v.store.searchVersions(ctx, query)
	for _, m := range list {
		m.Aliases = nil // as MLflow's server leaves them out here
	}
	return page("model_versions", list, token, err)
}

func (v *Server) updateVersion(ctx context.Context, q *struct {
	versionRef
	Description string `json:"description"`
}) (any, error) {
	if err := v.mayWriteVersion(ctx, q.Name, q.number()); err != nil {
		return nil, err
	}
	if err := v.store.describeVersion(ctx, q.Name, q.number(), q.Description); err != nil {
		return nil, err
	}
	return versionAnswer(v.store.version(ctx, q.Name, q.number()))
}

func (v *Server) transitionStage(ctx context.Context, q *struct {
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
	if err := v.store.stageVersion(ctx, q.Name, q.number(), q.Stage, q.Archive); err != nil {
		return nil, err
	}
	return versionAnswer(v.store.version(ctx, q.Name, q.number()))
}

func (v *Server) deleteVersion(ctx context.Context, q *versionRef) (any, error) {
	if err := v.mayWriteVersion(ctx, q.Name, q.number()); err != nil {
		return nil, err
	}
	return nil, v.store.deleteVersion(ctx, q.Name, q.number())
}

func (v *Server) setVersionTag(ctx context.Context, q *struct {
	versionRef
	keyRef
	Value string `json:"value"`
}) (any, error) {
	if err := v.mayTagVersion(ctx, q.Name, q.number(), q.Key); err != nil {
		return nil, err
	}
	return nil, v.store.tagVersion(ctx, q.Name, q.number(), KeyValue{q.Key, q.Value})
}

func (v *Server) deleteVersionTag(ctx context.Context, q *struct {
	versionRef
	keyRef
}) (any, error) {
	if err := v.mayTagVersion(ctx, q.Name, q.number(), q.Key); err != nil {
		return nil, err
	}
	return nil, v.store.untagVersion(ctx, q.Name, q.number(), q.Key)
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
	return s.setModelTags(ctx, model, []KeyValue{{tag, string(text)}})
}
