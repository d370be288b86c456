-- Input files whose records are not each in exactly one of scores and quarantine.
-- Different records are counted as bits, 60 to a number: a hundred times less to group than rows.
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
    SUM(staged - scored) AS rows_quarantined,
    SUM(BIT_COUNT(seen)) AS places
  FROM (
    SELECT
      source_file,
      DIV(source_row, 60) AS block,
      COUNT(*) AS staged,
      SUM(scored) AS scored,
      BIT_OR(CAST(1 AS INT64) << MOD(source_row, 60)) AS seen
    FROM (
      SELECT source_file, source_row, 1 AS scored FROM ${staged_scores}
      UNION ALL
      SELECT source_file, source_row, 0 AS scored FROM ${staged_quarantine}
    ) AS staged
    GROUP BY source_file, block
  ) AS blocks
  GROUP BY source_file
) AS s ON i.uri = s.source_file
WHERE COALESCE(i.rows_read, 0) <> COALESCE(s.rows_scored + s.rows_quarantined, 0)
  OR s.places <> s.rows_scored + s.rows_quarantined
ORDER BY file
