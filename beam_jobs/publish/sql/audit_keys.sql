-- Keys that scores would hold twice. Rows that a policy lets pass as duplicates say so themselves.
-- Fingerprints are grouped first, then only the keys whose fingerprint occurs more than once.
WITH suspects AS (
  SELECT FARM_FINGERPRINT(`key`) AS fingerprint
  FROM ${staged_scores}
  WHERE `key` IS NOT NULL
    AND 'DUPLICATE_KEY' NOT IN UNNEST(flags)
  GROUP BY fingerprint
  HAVING COUNT(*) > 1
)
SELECT `key`, COUNT(*) AS times
FROM ${staged_scores}
WHERE FARM_FINGERPRINT(`key`) IN (SELECT fingerprint FROM suspects)
  AND 'DUPLICATE_KEY' NOT IN UNNEST(flags)
GROUP BY `key`
HAVING COUNT(*) > 1
ORDER BY `key`
LIMIT 5
