-- Who did what, and what was refused to whom. Rows are added and, once they are old, removed; never changed. An event
-- names what it tells of by text: it outlives it.
CREATE TABLE audit_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  workspace_id TEXT,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('allowed', 'refused')),
  reason TEXT,
  address TEXT,
  request_id TEXT,
  count INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_events_workspace ON audit_events (workspace_id, id) WHERE workspace_id IS NOT NULL;
CREATE INDEX audit_events_at ON audit_events (at);
