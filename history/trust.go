package history

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

// The database is a file that somebody else may have written: it came out of an archive,
// say, where no repository tracks it. What it says about runs is shown; it decides
// neither what is written nor where.

// validID is what an id of a run or of a model looks like. It becomes the name of a
// folder.
var validID = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// ValidID tells whether a text can be the id of a run or of a logged model: one name
// of a folder, on every system.
func ValidID(id string) bool {
	return len(id) <= 255 && validID.MatchString(id) && !strings.HasSuffix(id, ".") && filepath.IsLocal(id)
}

func validExperiment(id string) bool {
	_, err := experimentID(id)
	return err == nil
}

// errStrange is the error of a row that no client of this history can have written.
var errStrange = errors.New("no run of this history")

var tableName = lazyregexp.New(`(?m)^CREATE TABLE "?(\w+)`)

// checkSchema refuses a database in which our tables are more than tables: a trigger
// runs when they are written, a view when they are read. MLflow has triggers on tables
// of its own that nothing here touches.
func checkSchema(tx *sql.Tx) error {
	ours := map[string]bool{}
	for _, m := range tableName.FindAllStringSubmatch(schema, -1) {
		ours[m[1]] = true
	}
	rows, err := tx.Query(`SELECT type, lower(name), lower(tbl_name), upper(coalesce(sql, '')) FROM sqlite_master
		WHERE type <> 'index'`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name, of, text string
		if err := rows.Scan(&kind, &name, &of, &text); err != nil {
			return err
		}
		if ours[of] && (kind != "table" || name != of || strings.HasPrefix(text, "CREATE VIRTUAL")) {
			return fmt.Errorf("it holds the %s %s on %s, which is not MLflow's; move the file away", kind, name, of)
		}
	}
	return rows.Err()
}
