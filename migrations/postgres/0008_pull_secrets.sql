-- Secrets that can pull and nothing else. They have a table of their own, so that a server of the version before never takes
-- one without a workspace for an operator key. One without a workspace pulls from all of them.
CREATE TABLE pull_secrets (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  workspace_id TEXT COLLATE "C" REFERENCES workspaces (id),
  -- What the Kubernetes Secret is called, and where it lies, so that a rotation gives one that takes its place.
  name TEXT COLLATE "C" NOT NULL,
  namespace TEXT COLLATE "C",
  hash TEXT COLLATE "C" NOT NULL UNIQUE,
  lifetime_days BIGINT NOT NULL,
  created_by TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  last_used_at BIGINT,
  -- The one that a rotation made in its place.
  replaced_by TEXT COLLATE "C"
);
CREATE INDEX pull_secrets_workspace ON pull_secrets (workspace_id, id);
CREATE INDEX pull_secrets_expiry ON pull_secrets (expires_at);
