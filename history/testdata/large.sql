-- 10,000 runs with 100,000 runs that their scripts made, the newest of all among them, in 2,000
-- experiments.
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO experiments (experiment_id, name, lifecycle_stage, creation_time) SELECT i, 'experiment ' || i, 'active', i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
  INSERT INTO runs (run_uuid, name, source_type, source_name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id)
  SELECT printf('job-%05d', i), 'job', 'UNKNOWN', '', 'me', 'FINISHED', i, i + 1, 'active', '', i % 2000 + 1 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
  INSERT INTO runs (run_uuid, name, source_type, source_name, user_id, status, start_time, lifecycle_stage, artifact_uri, experiment_id)
  SELECT printf('job-%05dc%06d', i / 10 + 1, i), 'child', 'UNKNOWN', printf('job-%05d', i / 10 + 1), 'me', 'RUNNING', 20000 + i, 'active', '', i % 2000 + 1 FROM n;
INSERT INTO tags (key, value, run_uuid) SELECT 'mlflow.parentRunId', source_name, run_uuid FROM runs WHERE source_name != '';
INSERT INTO tags (key, value, run_uuid) SELECT k.column1, k.column2, run_uuid FROM runs, (VALUES ('aml-train.target', 'local'), ('aml-train.status', 'Completed'), ('aml-train.job', 'x'), ('mlflow.runName', 'job')) k WHERE source_name = '';
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) SELECT 'loss', 0.5, 1, 1, 0, run_uuid FROM runs;
