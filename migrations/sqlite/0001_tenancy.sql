-- Who owns what. Ids and prefixes are never given twice: what is deleted keeps its row.
CREATE TABLE accounts (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX accounts_live_name ON accounts (name) WHERE deleted_at IS NULL;

CREATE TABLE workspaces (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  account_id TEXT NOT NULL REFERENCES accounts (id),
  prefix TEXT NOT NULL UNIQUE,
  team_key TEXT,
  namespace TEXT,
  display_name TEXT,
  quota_bytes INTEGER,
  untagged_retention_days INTEGER,
  credential_generation INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX workspaces_live_name ON workspaces (name) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_account ON workspaces (account_id);

-- An operator key has no workspace. Deleting a key deletes its row: what hangs on it dies with it.
CREATE TABLE api_keys (
  id TEXT NOT NULL PRIMARY KEY,
  workspace_id TEXT REFERENCES workspaces (id),
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  repositories TEXT,
  actions TEXT,
  credential_generation INTEGER NOT NULL DEFAULT 0,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER
) STRICT;
CREATE INDEX api_keys_workspace ON api_keys (workspace_id, id);

-- A credential is a signed token: only its revocation needs a row, until the token would have ended anyway.
CREATE TABLE revoked_credentials (
  id TEXT NOT NULL PRIMARY KEY,
  workspace_id TEXT NOT NULL REFERENCES workspaces (id),
  revoked_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX revoked_credentials_expiry ON revoked_credentials (expires_at);

CREATE TABLE signing_keys (
  id TEXT NOT NULL PRIMARY KEY,
  purpose TEXT NOT NULL,
  public_key BLOB NOT NULL,
  wrapped_private_key BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  signs_from INTEGER NOT NULL,
  expires_at INTEGER
) STRICT;
