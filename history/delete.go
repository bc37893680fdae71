package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/home"
)

// maxFamily is how many runs are deleted together, and maxDepth how deep runs are nested.
const (
	maxFamily = 1_000_000
	maxDepth  = 100
)

// family are the rows of a run and of all the runs that its script made, and theirs: the
// owner is recorded, or where MLflow made a run in the file itself, its parent is a tag. A
// circle of tags ends where it began.
const family = `WITH RECURSIVE family(id, depth) AS (
	SELECT run_uuid, 0 FROM runs WHERE run_uuid = ?
	UNION SELECT r.run_uuid, f.depth + 1 FROM family f JOIN runs r ON f.depth < ? AND (r.source_name = f.id
		OR r.source_name = '' AND EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid
			AND t.key = '` + TagParent + `' AND t.value = f.id)
		AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key = '` + TagTarget + `'))
	LIMIT ?)
SELECT DISTINCT ` + runColumns + ` FROM family JOIN runs r ON r.run_uuid = family.id ORDER BY depth, r.run_uuid`

// Family returns a run and all the runs that its script made, and those that these made,
// the run first.
func (s *Store) Family(ctx context.Context, id string) ([]*Run, error) {
	list, err := query(ctx, s.db, scanRun, family, id, maxDepth, maxFamily)
	if err != nil {
		return nil, err
	}
	runs, seen := list[:0], map[string]bool{}
	for _, r := range list {
		if !seen[r.Info.RunID] {
			seen[r.Info.RunID] = true
			runs = append(runs, r)
		}
	}
	if len(runs) == 0 || runs[0].Info.RunID != id {
		return nil, notFound("Run with id=%s not found", clip.Bytes(id, 60))
	}
	return runs, nil
}

// DeleteRun removes a run, the runs that its script made, and all that they wrote, for
// good. A run that has not ended, and one of which a version of a registered model was
// made, stays, and with it all of them. Files go first: where that fails, or is
// interrupted, the run is there to be deleted again.
func (s *Store) DeleteRun(ctx context.Context, id string) error {
	runs, err := s.Family(ctx, id)
	if err != nil {
		return err
	}
	owner, err := s.Owner(ctx, id)
	if err != nil {
		return err
	}
	if by, err := s.Run(ctx, owner); owner != "" && err == nil && !by.Status().Terminal() {
		return fmt.Errorf("run %s was made by run %s, which has not ended: %s; cancel that first", id, owner,
			by.Status())
	}
	models := map[string][]*LoggedModel{}
	for _, r := range runs {
		if err := s.deletable(ctx, r); err != nil {
			return err
		}
		if models[r.Info.RunID], err = s.models(ctx, "source_run_id = ?", r.Info.RunID); err != nil {
			return err
		}
	}
	for i := len(runs) - 1; i >= 0; i-- { // children first
		r := runs[i]
		for _, m := range models[r.Info.RunID] {
			if err := s.removeFolder(modelFolder(m)); err != nil {
				return err
			}
		}
		if err := s.removeFolder(folderOf(r)); err != nil {
			return err
		}
		err := s.write(ctx, func(tx *sql.Tx) error { return deleteRows(tx, r.Info.RunID) })
		if err != nil {
			return err
		}
	}
	return nil
}

// deletable tells why a run cannot be deleted.
func (s *Store) deletable(ctx context.Context, r *Run) error {
	id := r.Info.RunID
	whole, err := s.Run(ctx, id)
	if err != nil {
		return err
	}
	if status := whole.Status(); !status.Terminal() {
		return fmt.Errorf("run %s has not ended: %s; cancel it first", id, status)
	}
	versions, err := query(ctx, s.db, value[string], `SELECT name || ' version ' || version FROM model_versions
		WHERE current_stage <> ? AND (run_id = ? OR source IN (SELECT 'models:/' || model_id FROM logged_models
			WHERE source_run_id = ?)) ORDER BY name, version LIMIT 4`, stageDeleted, id, id)
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		return fmt.Errorf("run %s is what the registered model %s was made of; delete it there first", id,
			strings.Join(versions, ", "))
	}
	return nil
}

// removeFolder removes the folder around one of artifacts, that of a run or of a model.
func (s *Store) removeFolder(f folder) error {
	root := s.Files
	parts := f.parts()
	last := len(parts) - 2 // the run, or the model
	for _, part := range parts[:last] {
		next, err := home.Folder(root, part, false)
		if root != s.Files {
			root.Close()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		root = next
	}
	defer root.Close()
	return home.RemoveAll(root, parts[last])
}

// deleteRows removes what the database knows of a run. Datasets are shared by the runs of an
// experiment: those go that no other run has read.
func deleteRows(tx *sql.Tx, run string) error {
	const models = `(SELECT model_id FROM logged_models WHERE source_run_id = ?1)`
	for _, statement := range []string{
		`DELETE FROM input_tags WHERE input_uuid IN (SELECT input_uuid FROM inputs
			WHERE source_id = ?1 OR destination_id = ?1 OR source_id IN ` + models + ` OR destination_id IN ` + models + `)`,
		`DELETE FROM datasets WHERE dataset_uuid IN (SELECT source_id FROM inputs WHERE source_type = 'DATASET'
				AND destination_type = 'RUN' AND destination_id = ?1)
			AND NOT EXISTS (SELECT 1 FROM inputs i WHERE i.source_type = 'DATASET' AND i.source_id = dataset_uuid
				AND i.destination_id <> ?1)`,
		`DELETE FROM inputs WHERE source_id = ?1 OR destination_id = ?1 OR source_id IN ` + models +
			` OR destination_id IN ` + models,
		`DELETE FROM logged_model_metrics WHERE run_id = ?1 OR model_id IN ` + models,
		`DELETE FROM logged_model_params WHERE model_id IN ` + models,
		`DELETE FROM logged_model_tags WHERE model_id IN ` + models,
		`DELETE FROM logged_models WHERE source_run_id = ?1`,
		`DELETE FROM latest_metrics WHERE run_uuid = ?1`,
		`DELETE FROM metrics WHERE run_uuid = ?1`,
		`DELETE FROM params WHERE run_uuid = ?1`,
		`DELETE FROM tags WHERE run_uuid = ?1`,
		`DELETE FROM runs WHERE run_uuid = ?1`,
	} {
		if _, err := tx.Exec(statement, run); err != nil {
			return err
		}
	}
	return nil
}
