-- In the order in which a push that runs beside this takes its locks.
-- Names that were pushed to and became no image are looked for, to be forgotten.
CREATE INDEX repositories_unused ON repositories (created_at) WHERE image_at IS NULL AND deletion_id IS NULL;

-- Open sessions are counted whenever another one begins; those that have ended stay for an hour.
DROP INDEX uploads_workspace;
CREATE INDEX uploads_workspace_state ON uploads (workspace_id, state);
