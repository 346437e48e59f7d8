-- When a check found the bytes of a blob missing or wrong. Nobody reads it until a push brings it anew.
ALTER TABLE blobs ADD COLUMN damaged_at INTEGER;
CREATE INDEX blobs_damaged ON blobs (damaged_at) WHERE damaged_at IS NOT NULL;
