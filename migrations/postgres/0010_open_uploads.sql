-- Of sessions, those that are open are counted whenever another one begins; those that have ended stay for an hour.
CREATE INDEX uploads_open ON uploads (workspace_id) WHERE state = 'open';
