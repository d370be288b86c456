-- Keys that scores would hold twice. Rows that a policy lets pass as duplicates say so themselves.
SELECT `key`, COUNT(*) AS times
FROM ${staged_scores}
WHERE `key` IS NOT NULL
  AND 'DUPLICATE_KEY' NOT IN UNNEST(flags)
GROUP BY `key`
HAVING COUNT(*) > 1
ORDER BY `key`
LIMIT 5
