-- Answers while nothing is missed, and fails when the month before should have a run and has none.
IF EXTRACT(DAY FROM CURRENT_DATE('${timezone}')) < ${late_after_day} THEN
  SELECT 'nothing is missed' AS answer;
ELSEIF NOT EXISTS (
  SELECT 1 FROM `${dataset}`.INFORMATION_SCHEMA.TABLES WHERE table_name = 'runs'
) THEN
  -- The first run makes the tables.
  RAISE USING MESSAGE = 'the monthly job never ran';
ELSE
  -- As a text: without the table it would be an error in every branch.
  EXECUTE IMMEDIATE """
    SELECT
      IF(
        EXISTS (
          SELECT 1
          FROM `${dataset}.runs`
          WHERE job = 'monthly'
            AND period = DATE_TRUNC(DATE_SUB(CURRENT_DATE('${timezone}'), INTERVAL 1 MONTH), MONTH)
            AND status IN ('PUBLISHED', 'HELD')
        ),
        'nothing is missed',
        ERROR('the monthly job did not run for the month before')
      ) AS answer
  """;
END IF;
