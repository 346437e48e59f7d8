-- Open sessions are counted whenever another one begins; those that have ended stay for an hour.
CREATE INDEX uploads_workspace_state ON uploads (workspace_id, state);
DROP INDEX uploads_workspace;
