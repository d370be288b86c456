-- A held run shows its line, its inputs and what was found; its rows stay in the run folder.
BEGIN TRANSACTION;

UPDATE publish_locks SET run_id = @run_id WHERE job = @job;
${ledger}

DELETE FROM anomalies WHERE period = @period AND job = @job AND run_id = @run_id;
INSERT INTO anomalies (${columns_anomalies}) SELECT ${columns_anomalies} FROM ${staged_anomalies};

DELETE FROM feature_statistics WHERE period = @period AND job = @job AND run_id = @run_id;
INSERT INTO feature_statistics (${columns_feature_statistics})
SELECT ${columns_feature_statistics} FROM ${staged_feature_statistics};

DELETE FROM inputs WHERE period = @period AND job = @job AND run_id = @run_id;
INSERT INTO inputs (${columns_inputs}) SELECT ${columns_inputs} FROM ${staged_inputs};

DELETE FROM runs WHERE period = @period AND job = @job AND run_id = @run_id;
INSERT INTO runs (${columns_runs}) VALUES (${values_runs});

COMMIT TRANSACTION;
