-- Who owns what. Ids and prefixes are never given twice: what is deleted keeps its row.
CREATE TABLE accounts (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  deleted_at BIGINT
);
CREATE UNIQUE INDEX accounts_live_name ON accounts (name) WHERE deleted_at IS NULL;

CREATE TABLE workspaces (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL,
  account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
  prefix TEXT COLLATE "C" NOT NULL UNIQUE,
  team_key TEXT COLLATE "C",
  namespace TEXT COLLATE "C",
  display_name TEXT COLLATE "C",
  quota_bytes BIGINT,
  untagged_retention_days BIGINT,
  credential_generation BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  deleted_at BIGINT
);
CREATE UNIQUE INDEX workspaces_live_name ON workspaces (name) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_account ON workspaces (account_id);

-- An operator key has no workspace. Deleting a key deletes its row: what hangs on it dies with it.
CREATE TABLE api_keys (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  workspace_id TEXT COLLATE "C" REFERENCES workspaces (id),
  name TEXT COLLATE "C" NOT NULL,
  role TEXT COLLATE "C" NOT NULL,
  hash TEXT COLLATE "C" NOT NULL UNIQUE,
  repositories TEXT COLLATE "C",
  actions TEXT COLLATE "C",
  credential_generation BIGINT NOT NULL DEFAULT 0,
  created_by TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  last_used_at BIGINT
);
CREATE INDEX api_keys_workspace ON api_keys (workspace_id, id);

-- A credential is a signed token: only its revocation needs a row, until the token would have ended anyway.
CREATE TABLE revoked_credentials (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  revoked_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_credentials_expiry ON revoked_credentials (expires_at);

CREATE TABLE signing_keys (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  purpose TEXT COLLATE "C" NOT NULL,
  public_key BYTEA NOT NULL,
  wrapped_private_key BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  signs_from BIGINT NOT NULL,
  expires_at BIGINT
);
