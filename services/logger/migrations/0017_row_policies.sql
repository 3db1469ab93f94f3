-- A column that SQL users of accounts may not read, so that none has the right to a table as a whole: functions such as
-- mergeTreeAnalyzeIndexes ask for that right, and tell what the primary key holds past every row policy. As an ALIAS it
-- stands in no SELECT *.
ALTER TABLE metrion.response_events ADD COLUMN IF NOT EXISTS whole_table UInt8 ALIAS 1;
ALTER TABLE metrion.usage_15m ADD COLUMN IF NOT EXISTS whole_table UInt8 ALIAS 1;
ALTER TABLE metrion.usage_totals_15m ADD COLUMN IF NOT EXISTS whole_table UInt8 ALIAS 1;
ALTER TABLE metrion.usage_faults_15m ADD COLUMN IF NOT EXISTS whole_table UInt8 ALIAS 1;
