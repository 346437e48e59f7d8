-- Who did what, and what was refused to whom. Rows are added and, once they are old, removed; never changed. An event
-- names what it tells of by text: it outlives it.
CREATE TABLE audit_events (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at BIGINT NOT NULL,
  workspace_id TEXT COLLATE "C",
  actor TEXT COLLATE "C" NOT NULL,
  action TEXT COLLATE "C" NOT NULL,
  target TEXT COLLATE "C" NOT NULL,
  outcome TEXT COLLATE "C" NOT NULL CHECK (outcome IN ('allowed', 'refused')),
  reason TEXT COLLATE "C",
  address TEXT COLLATE "C",
  request_id TEXT COLLATE "C",
  count BIGINT NOT NULL
);
CREATE INDEX audit_events_workspace ON audit_events (workspace_id, id) WHERE workspace_id IS NOT NULL;
CREATE INDEX audit_events_at ON audit_events (at);
