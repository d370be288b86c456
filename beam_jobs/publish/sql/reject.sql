-- A held run ends: its request files are free, and what described it goes, as of a superseded run.
-- Nothing happens where it is not held any more.
BEGIN TRANSACTION;

UPDATE publish_locks SET run_id = @run_id WHERE job = @job;
${earlier}

INSERT INTO publications (${columns_publications})
SELECT
  run_id,
  job,
  period,
  GREATEST(@now, COALESCE(latest.at_least, @now)),
  @action,
  @decided_by,
  @reason,
  CAST(NULL AS STRING)
FROM runs
CROSS JOIN (
  SELECT TIMESTAMP_ADD(MAX(`at`), INTERVAL 1 MICROSECOND) AS at_least
  FROM publications
  WHERE period = @period AND job = @job
) AS latest
WHERE period = @period AND job = @job AND run_id = @run_id AND status = 'HELD';

UPDATE runs SET status = 'REJECTED', finished_at = @now
WHERE period = @period AND job = @job AND run_id = @run_id AND status = 'HELD';

DELETE FROM anomalies
WHERE period = @period AND job = @job AND run_id = @run_id
  AND run_id IN (SELECT run_id FROM runs WHERE period = @period AND status = 'REJECTED');
DELETE FROM feature_statistics
WHERE period = @period AND job = @job AND run_id = @run_id
  AND run_id IN (SELECT run_id FROM runs WHERE period = @period AND status = 'REJECTED');
DELETE FROM inputs
WHERE period = @period AND job = @job AND run_id = @run_id
  AND run_id IN (SELECT run_id FROM runs WHERE period = @period AND status = 'REJECTED');

COMMIT TRANSACTION;
