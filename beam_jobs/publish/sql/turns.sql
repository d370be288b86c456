-- The row that a queue run's transaction writes first; see ledger.sql.
CREATE TABLE IF NOT EXISTS turns (job STRING, run_id STRING);
INSERT INTO turns (job, run_id)
SELECT @job, @run_id FROM (SELECT 1) AS one_line
WHERE NOT EXISTS (SELECT 1 FROM turns WHERE job = @job);
