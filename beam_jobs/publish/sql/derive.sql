-- Before a way back is looked for: a month published before there was a history gets one.
BEGIN TRANSACTION;

UPDATE publish_locks SET run_id = @run_id WHERE job = @job;
${earlier}

COMMIT TRANSACTION;
