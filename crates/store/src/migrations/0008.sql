-- Version 8: the last drain whose flows are in the log, by which the next run knows what it has to record.
ALTER TABLE log ADD COLUMN drain_series INTEGER;
ALTER TABLE log ADD COLUMN drain_number INTEGER;
