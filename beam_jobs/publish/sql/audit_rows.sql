-- Figures of the whole run, and rows that no table may hold.
SELECT
  s.staged AS scores_staged,
  q.staged AS quarantine_staged,
  COALESCE(s.without_score, 0) AS scores_without_score,
  COALESCE(s.of_another_run, 0) AS scores_of_another_run,
  COALESCE(q.of_another_run, 0) AS quarantine_of_another_run,
  COALESCE(q.without_reason, 0) AS quarantine_without_reason
FROM (
  SELECT
    COUNT(*) AS staged,
    SUM(CASE WHEN score IS NULL THEN 1 ELSE 0 END) AS without_score,
    SUM(CASE WHEN run_id = @run_id AND job = @job AND period = @period THEN 0 ELSE 1 END)
      AS of_another_run
  FROM ${staged_scores}
) AS s
CROSS JOIN (
  SELECT
    COUNT(*) AS staged,
    SUM(CASE WHEN ARRAY_LENGTH(reasons) > 0 THEN 0 ELSE 1 END) AS without_reason,
    SUM(CASE WHEN run_id = @run_id AND job = @job AND period = @period THEN 0 ELSE 1 END)
      AS of_another_run
  FROM ${staged_quarantine}
) AS q
