-- Request files of the staged run that another run has answered, holds, or has set aside (no rows).
SELECT i.uri, i.run_id, r.status
FROM inputs AS i
JOIN ${staged_inputs} AS s ON s.uri = i.uri AND s.generation = i.generation
JOIN runs AS r ON r.run_id = i.run_id
WHERE i.job = @job AND i.run_id <> @run_id
  AND r.status IN ('PUBLISHED', 'HELD')
  AND (NOT @takes_held OR (r.status = 'PUBLISHED' AND i.`rows` IS NOT NULL))
