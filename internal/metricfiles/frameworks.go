package metricfiles

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/yamlfile"
)

// readCSV reads what Lightning's CSVLogger writes (lightning_logs/version_N/metrics.csv):
// a column for each metric, one called step, and empty fields where a row has no value.
func readCSV(r *reading, f File) (values []Value, err error) {
	text, err := r.text(f)
	if err != nil {
		return nil, err
	}
	d := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	d.ReuseRecord, d.FieldsPerRecord, d.TrimLeadingSpace = true, -1, true
	first, err := d.Read()
	if err != nil {
		if err == io.EOF {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	head := slices.Clone(first)
	at := slices.Index(head, "step")
	if at < 0 {
		at = slices.Index(head, "epoch")
	}
	for row := int64(0); ; row++ {
		record, err := d.Read()
		if err == io.EOF {
			return values, nil
		}
		if err != nil {
			return values, fmt.Errorf("%s: %w", f.Path, err)
		}
		step := row
		if at >= 0 && at < len(record) {
			if n, err := strconv.ParseFloat(strings.TrimSpace(record[at]), 64); err == nil && n == math.Trunc(n) &&
				math.Abs(n) < 1<<53 {
				step = int64(n)
			}
		}
		for i, field := range record {
			if i >= len(head) || i == at || head[i] == "epoch" || head[i] == "" {
				continue
			}
			if v, err := strconv.ParseFloat(strings.TrimSpace(field), 64); err == nil || math.IsInf(v, 0) {
				values = append(values, Value{Name: head[i], Value: v, Step: step})
			}
		}
	}
}

var checkpoint = lazyregexp.New(`^(.*/|)checkpoint-(\d+)/trainer_state\.json$`)

// ofCheckpoint returns the folder whose checkpoint a file belongs to, and its step.
func ofCheckpoint(name string) (folder string, step int64, ok bool) {
	m := checkpoint.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	step, err := strconv.ParseInt(m[2], 10, 64)
	return path.Clean(m[1]), step, err == nil
}

// readTrainer reads the history that Hugging Face's Trainer writes with each checkpoint
// (trainer_state.json). Each holds the ones before it, so that of the checkpoints of one
// folder the last is read, and none where the folder has its own.
func readTrainer(r *reading, f File) (values []Value, err error) {
	if folder, step, ok := ofCheckpoint(f.Path); ok {
		if _, own := r.files[path.Join(folder, "trainer_state.json")]; own || step < r.last[folder] {
			return nil, nil
		}
	}
	text, err := r.text(f)
	if err != nil {
		return nil, err
	}
	objects, err := decode(f.Path, text)
	if err != nil {
		return nil, err
	}
	log, _ := objects[0]["log_history"].([]any)
	for i, entry := range log {
		row, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		step := int64(i)
		if n, ok := row["step"].(json.Number); ok {
			if s, err := n.Int64(); err == nil {
				step = s
			}
		}
		delete(row, "step")
		delete(row, "epoch")
		w := &walk{reading: r, name: f.Path, step: step}
		w.object("", row)
		values = append(values, w.values...)
	}
	return values, nil
}

// readDVC reads the files that a dvc.yaml names as metrics, of the pipeline and of its
// stages, as far as the run has written them: JSON or YAML, numbers by name.
func readDVC(r *reading, f File) (values []Value, err error) {
	text, err := limited.ReadFS(f.FS, f.Name, limited.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	var pipeline struct {
		Metrics []any `yaml:"metrics"`
		Stages  map[string]struct {
			WorkingDir string `yaml:"wdir"`
			Metrics    []any  `yaml:"metrics"`
		} `yaml:"stages"`
	}
	if err := yamlfile.DecodeData(text, &pipeline); err != nil {
		return nil, fmt.Errorf("%s: %s", f.Path, yaml.FormatError(err, false, false))
	}
	var names []string
	add := func(dir string, entries []any) {
		for _, e := range entries {
			switch e := e.(type) {
			case string:
				names = append(names, path.Join(path.Dir(f.Path), dir, e))
			case map[string]any: // with options, such as cache: false
				for name := range e {
					names = append(names, path.Join(path.Dir(f.Path), dir, name))
				}
			}
		}
	}
	add("", pipeline.Metrics)
	for _, s := range pipeline.Stages {
		add(s.WorkingDir, s.Metrics)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		made, ok := r.files[name]
		if !ok || r.done[name] || path.Base(name) == "metrics.json" { // those are read as what they are
			continue
		}
		r.done[name] = true
		found, err := r.named(made)
		if err != nil {
			return values, err
		}
		prefix := ""
		if len(names) > 1 {
			prefix = strings.TrimSuffix(path.Base(name), path.Ext(name)) + "/"
		}
		for _, v := range found {
			v.Name = prefix + v.Name
			values = append(values, v)
		}
	}
	return values, nil
}

// named reads numbers by name from JSON or YAML.
func (r *reading) named(f File) ([]Value, error) {
	text, err := r.text(f)
	if err != nil {
		return nil, err
	}
	switch path.Ext(f.Path) {
	case ".yaml", ".yml":
		if len(text) > limited.Config {
			return nil, fmt.Errorf("%s is too large for YAML; write JSON", f.Path)
		}
		var object map[string]any
		if err := yamlfile.DecodeData(text, &object); err != nil {
			return nil, fmt.Errorf("%s: %s", f.Path, yaml.FormatError(err, false, false))
		}
		w := &walk{reading: r, name: f.Path}
		w.object("", object)
		return w.values, nil
	case ".json":
		return r.parseJSON(f.Path, text)
	}
	return nil, fmt.Errorf("%s: metrics that dvc.yaml names are read from JSON and YAML", f.Path)
}
