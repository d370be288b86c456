-- Input files whose records are not each in exactly one of scores and quarantine.
SELECT
  COALESCE(i.uri, s.source_file) AS file,
  COALESCE(i.rows_read, 0) AS rows_read,
  COALESCE(s.rows_scored, 0) AS rows_scored,
  COALESCE(s.rows_quarantined, 0) AS rows_quarantined,
  COALESCE(s.places, 0) AS places
FROM (SELECT uri, SUM(`rows`) AS rows_read FROM ${staged_inputs} GROUP BY uri) AS i
FULL JOIN (
  SELECT
    source_file,
    SUM(scored) AS rows_scored,
    SUM(1 - scored) AS rows_quarantined,
    COUNT(DISTINCT source_row) AS places
  FROM (
    SELECT source_file, source_row, 1 AS scored FROM ${staged_scores}
    UNION ALL
    SELECT source_file, source_row, 0 AS scored FROM ${staged_quarantine}
  ) AS staged
  GROUP BY source_file
) AS s ON i.uri = s.source_file
WHERE COALESCE(i.rows_read, 0) <> COALESCE(s.rows_scored + s.rows_quarantined, 0)
  OR s.places <> s.rows_scored + s.rows_quarantined
ORDER BY file
