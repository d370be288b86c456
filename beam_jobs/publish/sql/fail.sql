-- A failed run leaves its line, unless an earlier attempt of the same run had an outcome.
BEGIN TRANSACTION;

DELETE FROM runs WHERE period = @period AND job = @job AND run_id = @run_id AND status = 'FAILED';
INSERT INTO runs (${columns_runs})
SELECT ${values_runs}
FROM (SELECT 1) AS one_line
WHERE NOT EXISTS (
  SELECT 1 FROM runs WHERE period = @period AND job = @job AND run_id = @run_id
);

COMMIT TRANSACTION;
