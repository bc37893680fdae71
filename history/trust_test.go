package history

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A rollback journal names the file that several databases share, and SQLite deletes it
// when it has rolled back (sqlite.org/atomiccommit.html, "Multi-file Commit"). Older
// releases took any name for one.
func TestPlantedJournal(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Close())
	file, victim := filepath.Join(s.Home, database), filepath.Join(t.TempDir(), "victim")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(victim, []byte("precious\x00"), 0o644))

	const page = 4096
	magic := []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}
	journal := append([]byte{}, magic...)
	for _, n := range []uint32{0, 0, uint32(len(text) / page), 512, page} {
		journal = binary.BigEndian.AppendUint32(journal, n)
	}
	journal = append(journal, make([]byte, 512-len(journal))...)
	journal = binary.BigEndian.AppendUint32(journal, 1<<30/page+1)
	journal = append(journal, victim...)
	sum := uint32(0)
	for _, b := range []byte(victim) {
		sum += uint32(b)
	}
	journal = binary.BigEndian.AppendUint32(journal, uint32(len(victim)))
	journal = append(binary.BigEndian.AppendUint32(journal, sum), magic...)
	require.NoError(t, os.WriteFile(file+"-journal", journal, 0o644))

	again, err := Open(s.Home)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoFileExists(t, file+"-journal", "the journal was not looked at, so that this test shows nothing")
	require.FileExists(t, victim)
}

// An id becomes the name of a folder, on every system.
func TestValidID(t *testing.T) {
	for _, good := range []string{"iris-3f2a91c-1", "0123456789abcdef0123456789abcdef",
		"m-0123456789abcdef0123456789abcdef", "a", "A_b.c-D", "1"} {
		require.True(t, ValidID(good), good)
	}
	for _, bad := range []string{"", ".", "..", "../../victim", "/etc", "a/b", `a\b`, "a:b", ".new-x", ".spare", "-rf",
		"a b", "a\n", "é", "a\x00", "ends.", string(make([]byte, 300))} {
		require.False(t, ValidID(bad), "%q", bad)
	}
	for _, bad := range []string{"../..", "", "1 ", "+1", "01", "0x1", "1/2", "9223372036854775808"} {
		require.False(t, validExperiment(bad), bad)
	}
}

// A row that no client of this history can have written is shown by nothing and moves
// nothing.
func TestStrangeRows(t *testing.T) {
	s := open(t)
	newRun(t, s, "good")
	for i, id := range []string{"../../victim", "/etc", "..", "a/b", ""} {
		_, err := s.db.Exec(`INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id) VALUES (?, 'x',
			'RUNNING', 'active', 0)`, id)
		require.NoError(t, err)
		_, err = s.db.Exec(`INSERT INTO tags (key, value, run_uuid) VALUES (?, 'local', ?), (?, 'Running', ?)`,
			TagTarget, id, TagStatus, id)
		require.NoError(t, err)
		_, err = s.Run(ctx, id)
		require.Error(t, err)
		_, err = s.db.Exec(`INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,
			creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage) VALUES (?, 0, ?, 'file:///etc',
				0, 0, 1, 'active')`, id, i)
		require.NoError(t, err)
		_, err = s.model(ctx, id)
		require.Error(t, err)
	}
	runs, _, err := s.SearchRuns(ctx, Query{})
	require.NoError(t, err)
	require.Len(t, runs, 1)
	ids, err := s.Unfinished(ctx, "local")
	require.NoError(t, err)
	require.Empty(t, ids)
	_, err = s.CreateRun(ctx, NewRun{ID: "../../victim", ExperimentID: "0"})
	require.ErrorContains(t, err, "a run's id holds letters")

	// Where its files are follows from its id.
	_, err = s.db.Exec(`UPDATE runs SET artifact_uri = 'file:///etc' WHERE run_uuid = 'good'`)
	require.NoError(t, err)
	run, err := s.Run(ctx, "good")
	require.NoError(t, err)
	files, err := s.Artifacts(ctx, run)
	require.NoError(t, err)
	require.Empty(t, files)
	_, err = s.OpenArtifact(ctx, run, "passwd")
	require.Error(t, err)
}
