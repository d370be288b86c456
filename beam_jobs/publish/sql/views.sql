-- The rows of every month's published run.
CREATE OR REPLACE VIEW current_scores AS
SELECT s.*
FROM scores AS s
WHERE s.run_id IN (SELECT run_id FROM runs WHERE status = 'PUBLISHED');

-- What was found in every month's published run; held runs are in `anomalies` only.
CREATE OR REPLACE VIEW current_anomalies AS
SELECT a.*
FROM anomalies AS a
WHERE a.run_id IN (SELECT run_id FROM runs WHERE status = 'PUBLISHED');

-- One line a period, slice and feature of published runs: how far it moved, and what was said.
CREATE OR REPLACE VIEW drift_history AS
SELECT
  f.job,
  f.period,
  f.slice,
  f.feature,
  f.type,
  f.`rows`,
  CASE WHEN f.`rows` > 0 THEN f.missing / f.`rows` END AS missing_share,
  f.mean,
  f.std_dev,
  f.quantiles[SAFE_OFFSET(5)] AS median,
  f.`distinct`,
  f.skew,
  f.skew_measure,
  f.drift,
  f.drift_measure,
  COALESCE(a.anomalies, 0) AS anomalies,
  CASE a.worst WHEN 3 THEN 'HOLD' WHEN 2 THEN 'WARN' WHEN 1 THEN 'INFO' END AS severity,
  r.previous_run_id,
  f.run_id
FROM feature_statistics AS f
JOIN runs AS r ON r.period = f.period AND r.run_id = f.run_id AND r.status = 'PUBLISHED'
LEFT JOIN (
  SELECT
    period,
    run_id,
    slice,
    feature,
    COUNT(*) AS anomalies,
    MAX(CASE severity WHEN 'HOLD' THEN 3 WHEN 'WARN' THEN 2 ELSE 1 END) AS worst
  FROM anomalies
  GROUP BY period, run_id, slice, feature
) AS a ON a.period = f.period AND a.run_id = f.run_id AND a.slice = f.slice AND a.feature = f.feature;

-- Every run with its shares and its anomalies by severity.
CREATE OR REPLACE VIEW run_history AS
SELECT
  r.job,
  r.period,
  r.run_id,
  r.status,
  r.status = 'PUBLISHED' AS is_current,
  r.started_at,
  r.finished_at,
  r.rows_read,
  r.rows_scored,
  r.rows_quarantined,
  CASE WHEN r.rows_read > 0 THEN r.rows_quarantined / r.rows_read END AS quarantined_share,
  COALESCE(a.info, 0) AS anomalies_info,
  COALESCE(a.warn, 0) AS anomalies_warn,
  COALESCE(a.hold, 0) AS anomalies_hold,
  r.model,
  r.model_version,
  r.previous_run_id,
  r.code_version,
  r.run_folder,
  r.hold_reasons,
  r.error
FROM runs AS r
LEFT JOIN (
  SELECT
    period,
    run_id,
    COUNT(CASE severity WHEN 'INFO' THEN 1 END) AS info,
    COUNT(CASE severity WHEN 'WARN' THEN 1 END) AS warn,
    COUNT(CASE severity WHEN 'HOLD' THEN 1 END) AS hold
  FROM anomalies
  GROUP BY period, run_id
) AS a ON a.period = r.period AND a.run_id = r.run_id;

-- How many rows of a published run each reason stopped, by input file, with one example.
CREATE OR REPLACE VIEW quarantine_summary AS
SELECT
  q.job,
  q.period,
  q.source_file,
  q.reason,
  COUNT(*) AS `rows`,
  COUNT(*) / ANY_VALUE(q.rows_read) AS share_of_rows_read,
  MIN(q.source_row) AS first_source_row,
  MIN(q.detail) AS example,
  q.run_id
FROM (
  SELECT
    t.job, t.period, t.run_id, t.source_file, t.source_row, code AS reason, r.rows_read,
    (
      SELECT
        MIN(
          CASE
            WHEN d.feature IS NULL THEN CONCAT(d.reason, ' ', d.detail)
            ELSE CONCAT(d.reason, ' ', d.feature, ': ', d.detail)
          END
        )
      FROM UNNEST(t.details) AS d
      WHERE d.reason = code
    ) AS detail
  FROM quarantine AS t
  JOIN runs AS r ON r.period = t.period AND r.run_id = t.run_id AND r.status = 'PUBLISHED'
  CROSS JOIN UNNEST(t.reasons) AS code
) AS q
GROUP BY q.job, q.period, q.source_file, q.reason, q.run_id;
