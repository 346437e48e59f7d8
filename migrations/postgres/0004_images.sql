-- What the owner of an image has decided about it.
ALTER TABLE repositories ADD COLUMN protected BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN immutable_tags TEXT COLLATE "C";
ALTER TABLE repositories ADD COLUMN visibility TEXT COLLATE "C" NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'platform'));
CREATE INDEX repositories_platform ON repositories (name)
  WHERE visibility = 'platform' AND image_at IS NOT NULL AND deletion_id IS NULL;

CREATE INDEX repositories_workspace ON repositories (workspace_id);

-- What a manifest and all it needs weigh, and what it runs on: a JSON list. Unknown for rows from before.
ALTER TABLE manifests ADD COLUMN total_bytes BIGINT;
ALTER TABLE manifests ADD COLUMN platforms TEXT COLLATE "C";

DROP INDEX tag_history_ended;
CREATE INDEX tag_history_former ON tag_history (ended_at) WHERE deletion_id IS NULL;

CREATE INDEX tags_newest ON tags (repository_id, updated_at, name);

-- A grant of an image to another workspace, which sees it under a name of its own. One that is pending waits for the
-- other account, and ends by itself.
CREATE TABLE shares (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  source_workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  target_workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  status TEXT COLLATE "C" NOT NULL CHECK (status IN ('pending', 'active')),
  alias TEXT COLLATE "C" NOT NULL,
  shared_by TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  UNIQUE (repository_id, target_workspace_id)
);
CREATE INDEX shares_source ON shares (source_workspace_id, status, id);
CREATE INDEX shares_expiry ON shares (expires_at) WHERE status = 'pending';
CREATE INDEX shares_target ON shares (target_workspace_id, status, id);

-- Images and aliases claim their names in one table: one name, one meaning.
ALTER TABLE names DROP CONSTRAINT names_repository_id_key;
ALTER TABLE names ADD COLUMN share_id TEXT COLLATE "C" UNIQUE REFERENCES shares (id);
CREATE UNIQUE INDEX names_own ON names (repository_id) WHERE share_id IS NULL;
CREATE INDEX names_repository ON names (repository_id);

-- "This digest is in use by X until T." The holder's workspace need not be the owner's.
CREATE TABLE leases (
  workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  holder TEXT COLLATE "C" NOT NULL,
  repository_id BIGINT NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  repository TEXT COLLATE "C" NOT NULL,
  image TEXT COLLATE "C" NOT NULL,
  created_by TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (workspace_id, holder),
  FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX leases_digest ON leases (repository_id, digest, expires_at);
CREATE INDEX leases_repository ON leases (repository_id, workspace_id, expires_at);
CREATE INDEX leases_expiry ON leases (expires_at);

-- What went with a deletion, as its list shows it. A purged one keeps its row, to say that it is too late.
ALTER TABLE deletions ADD COLUMN repository_id BIGINT REFERENCES repositories (id);
ALTER TABLE deletions ADD COLUMN tags TEXT COLLATE "C" NOT NULL DEFAULT '[]';
ALTER TABLE deletions ADD COLUMN digests TEXT COLLATE "C" NOT NULL DEFAULT '[]';
ALTER TABLE deletions ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deletions ADD COLUMN purged_at BIGINT;
ALTER TABLE deletions ADD COLUMN due_at BIGINT;
UPDATE deletions SET due_at = restorable_until;
UPDATE deletions SET repository_id = COALESCE(
  (SELECT repository_id FROM tag_history WHERE deletion_id = deletions.id LIMIT 1),
  (SELECT repository_id FROM manifests WHERE deletion_id = deletions.id LIMIT 1),
  (SELECT repository_id FROM links WHERE deletion_id = deletions.id LIMIT 1));
CREATE INDEX deletions_repository ON deletions (repository_id);
CREATE INDEX deletions_due ON deletions (due_at) WHERE purged_at IS NULL;
CREATE INDEX deletions_purged ON deletions (purged_at) WHERE purged_at IS NOT NULL;
DROP INDEX deletions_workspace;
CREATE INDEX deletions_kept ON deletions (workspace_id, id) WHERE purged_at IS NULL;

-- When something was pulled last; an empty tag is the image as a whole.
CREATE TABLE pulls (
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  tag TEXT COLLATE "C" NOT NULL,
  last_pulled_at BIGINT NOT NULL,
  PRIMARY KEY (repository_id, tag)
);

-- What a workspace has read, of its own and of others.
CREATE TABLE egress (
  reader_workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  owner_workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  bytes BIGINT NOT NULL,
  PRIMARY KEY (reader_workspace_id, owner_workspace_id)
);

-- Counted in the background after every change: what lists and quotas show.
CREATE TABLE image_counts (
  repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repositories (id),
  tags BIGINT NOT NULL,
  size_bytes BIGINT NOT NULL,
  pushed_at BIGINT,
  counted_at BIGINT NOT NULL
);
CREATE TABLE workspace_counts (
  workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id),
  images BIGINT NOT NULL,
  tags BIGINT NOT NULL,
  stored_bytes BIGINT NOT NULL,
  logical_bytes BIGINT NOT NULL,
  deleted_bytes BIGINT NOT NULL,
  counted_at BIGINT NOT NULL
);
