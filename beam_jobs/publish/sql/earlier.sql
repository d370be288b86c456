-- The history of a month that was published before there was a table of it, from `runs`: a run was
-- published when the one before it was superseded. Nothing where the month has a history.
INSERT INTO publications (${columns_publications})
SELECT
  run_id,
  job,
  period,
  COALESCE(
    LAG(finished_at)
      OVER (ORDER BY CASE status WHEN 'PUBLISHED' THEN 1 ELSE 0 END, finished_at),
    started_at
  ),
  'PUBLISHED',
  CAST(NULL AS STRING),
  CAST(NULL AS STRING),
  LAG(run_id)
    OVER (ORDER BY CASE status WHEN 'PUBLISHED' THEN 1 ELSE 0 END, finished_at)
FROM runs
WHERE period = @period AND job = @job AND status IN ('PUBLISHED', 'SUPERSEDED')
  AND NOT EXISTS (SELECT 1 FROM publications WHERE period = @period AND job = @job);
