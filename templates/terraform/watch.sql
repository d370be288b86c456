SELECT
  IF(
    EXTRACT(DAY FROM CURRENT_DATE('${timezone}')) < ${late_after_day}
    OR EXISTS (
      SELECT 1
      FROM `${dataset}.runs`
      WHERE job = 'monthly'
        AND period = DATE_TRUNC(DATE_SUB(CURRENT_DATE('${timezone}'), INTERVAL 1 MONTH), MONTH)
        AND status IN ('PUBLISHED', 'HELD')
    ),
    'nothing is missed',
    ERROR('the monthly job did not run for the month before')
  ) AS answer
