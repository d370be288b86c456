-- Within the transaction that publishes: who decided so, when, and which run makes room. A run that
-- is published already is not published again. Clocks of machines differ: what is recorded later
-- is later.
INSERT INTO publications (${columns_publications})
SELECT
  @run_id,
  @job,
  @period,
  GREATEST(@now, COALESCE(latest.at_least, @now)),
  @action,
  @decided_by,
  @reason,
  (
    SELECT MAX(run_id) FROM runs
    WHERE period = @period AND job = @job AND ${replaced}
      AND status = 'PUBLISHED' AND run_id <> @run_id
  )
FROM (
  SELECT TIMESTAMP_ADD(MAX(`at`), INTERVAL 1 MICROSECOND) AS at_least
  FROM publications
  WHERE period = @period AND job = @job
) AS latest
WHERE NOT EXISTS (
  SELECT 1 FROM runs
  WHERE period = @period AND job = @job AND run_id = @run_id AND status = 'PUBLISHED'
);
