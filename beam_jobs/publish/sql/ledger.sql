-- Within the transaction of a queue run: each of its request files is its own, or nothing happens.
SELECT CASE WHEN COUNT(*) > 0 THEN ERROR('another run has these request files') END
FROM (${taken}) AS taken;
-- A run that takes the files of held ones (--force) takes their place.
UPDATE runs SET status = 'SUPERSEDED', finished_at = @now
WHERE job = @job AND status = 'HELD' AND run_id <> @run_id
  AND run_id IN (
    SELECT i.run_id
    FROM inputs AS i
    JOIN ${staged_inputs} AS s ON s.uri = i.uri AND s.generation = i.generation
    WHERE i.job = @job AND i.`rows` IS NOT NULL
  );
