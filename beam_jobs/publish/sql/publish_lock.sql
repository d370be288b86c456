-- The row that a job's transactions write first, so that one is let through at a time: BigQuery lets
-- two pass each other that change no row of each other's, such as the first two runs of a month.
CREATE TABLE IF NOT EXISTS publish_locks (job STRING, run_id STRING);
INSERT INTO publish_locks (job, run_id)
SELECT @job, @run_id FROM (SELECT 1) AS one_line
WHERE NOT EXISTS (SELECT 1 FROM publish_locks WHERE job = @job);
