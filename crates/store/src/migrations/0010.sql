-- Version 10: windows are known elsewhere by a random number, and events belong to windows, so that a copy of the log on a
-- server has each once. docs/schema.md explains the columns.
ALTER TABLE window ADD COLUMN nonce INTEGER;

ALTER TABLE event ADD COLUMN window INTEGER NOT NULL DEFAULT 0;
UPDATE event SET window = coalesce(
    (SELECT w.id FROM window AS w WHERE w.time >= event.time ORDER BY w.time, w.id LIMIT 1),
    (SELECT last_window + 1 FROM log));
CREATE INDEX event_window ON event (window);
