-- One run becomes visible: readers see what was there before or this run, never a mixture.
-- Every table is partitioned by period, and bounded by it: BigQuery reads one partition.
-- columns_* are the columns of a table, staged_* the run's rows, staged and audited; replaced says
-- which rows of the period make room: all of a month, only this very run's of a day of the queue.
BEGIN TRANSACTION;

UPDATE publish_locks SET run_id = @run_id WHERE job = @job;
${ledger}
${earlier}
${recorded}

DELETE FROM scores WHERE period = @period AND job = @job AND ${replaced};
INSERT INTO scores (${columns_scores}) SELECT ${columns_scores} FROM ${staged_scores};

DELETE FROM quarantine WHERE period = @period AND job = @job AND ${replaced};
INSERT INTO quarantine (${columns_quarantine})
SELECT ${columns_quarantine} FROM ${staged_quarantine};

-- What describes a run that is held stays visible until somebody approves the run or it runs again.
DELETE FROM anomalies
WHERE period = @period AND job = @job AND ${replaced}
  AND (
    run_id = @run_id
    OR run_id NOT IN (
      SELECT run_id FROM runs WHERE period = @period AND job = @job AND status = 'HELD'
    )
  );
INSERT INTO anomalies (${columns_anomalies}) SELECT ${columns_anomalies} FROM ${staged_anomalies};

DELETE FROM feature_statistics
WHERE period = @period AND job = @job AND ${replaced}
  AND (
    run_id = @run_id
    OR run_id NOT IN (
      SELECT run_id FROM runs WHERE period = @period AND job = @job AND status = 'HELD'
    )
  );
INSERT INTO feature_statistics (${columns_feature_statistics})
SELECT ${columns_feature_statistics} FROM ${staged_feature_statistics};

DELETE FROM inputs
WHERE period = @period AND job = @job AND ${replaced}
  AND (
    run_id = @run_id
    OR run_id NOT IN (
      SELECT run_id FROM runs WHERE period = @period AND job = @job AND status = 'HELD'
    )
  );
INSERT INTO inputs (${columns_inputs}) SELECT ${columns_inputs} FROM ${staged_inputs};

UPDATE runs SET status = 'SUPERSEDED', finished_at = @now
WHERE period = @period AND job = @job AND ${replaced}
  AND status = 'PUBLISHED' AND run_id <> @run_id;
DELETE FROM runs WHERE period = @period AND job = @job AND run_id = @run_id;
INSERT INTO runs (${columns_runs}) VALUES (${values_runs});

COMMIT TRANSACTION;
