-- Request files of the staged run that another run has answered, or holds. A line without rows is a
-- file that was set aside: nobody answers it, so it is in nobody's way.
SELECT i.uri, i.run_id, r.status
FROM inputs AS i
JOIN ${staged_inputs} AS s ON s.uri = i.uri AND s.generation = i.generation
JOIN runs AS r ON r.run_id = i.run_id
WHERE i.job = @job AND i.run_id <> @run_id AND i.`rows` IS NOT NULL AND s.`rows` IS NOT NULL
  AND (r.status = 'PUBLISHED' OR (r.status = 'HELD' AND NOT @takes_held))
