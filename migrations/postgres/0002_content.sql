-- Objects: every key the storage ever saw has a row before its first byte.
CREATE TABLE objects (
  key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('writing', 'live', 'doomed')),
  due_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE INDEX objects_due ON objects (state, due_at);

CREATE TABLE blobs (
  digest TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  object_key TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES objects (key),
  size_bytes BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE deletions (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  repository TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('image', 'tag', 'manifest', 'blob')),
  subject TEXT COLLATE "C" NOT NULL,
  deleted_by TEXT COLLATE "C" NOT NULL,
  deleted_at BIGINT NOT NULL,
  restorable_until BIGINT NOT NULL
);
CREATE INDEX deletions_workspace ON deletions (workspace_id, deleted_at, id);

-- A repository outlives its name: after a deletion the name may start a new one.
CREATE TABLE repositories (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  name TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  image_at BIGINT,
  deletion_id TEXT COLLATE "C" REFERENCES deletions (id)
);
CREATE INDEX repositories_deletion ON repositories (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX repositories_images ON repositories (workspace_id, name) WHERE image_at IS NOT NULL AND deletion_id IS NULL;

-- Images claim their names here, and so will aliases: one name, one meaning.
CREATE TABLE names (
  name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  repository_id BIGINT NOT NULL UNIQUE REFERENCES repositories (id)
);

-- A link is a blob's membership of one repository.
CREATE TABLE links (
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  digest TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest),
  created_at BIGINT NOT NULL,
  unneeded_since BIGINT,
  condemned_at BIGINT,
  deletion_id TEXT COLLATE "C" REFERENCES deletions (id),
  PRIMARY KEY (repository_id, digest)
);
CREATE INDEX links_digest ON links (digest);
CREATE INDEX links_deletion ON links (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX links_unneeded ON links (unneeded_since) WHERE unneeded_since IS NOT NULL;

CREATE TABLE manifest_contents (
  digest TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  bytes BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE manifests (
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  digest TEXT COLLATE "C" NOT NULL REFERENCES manifest_contents (digest),
  media_type TEXT COLLATE "C" NOT NULL,
  size_bytes BIGINT NOT NULL,
  subject TEXT COLLATE "C",
  artifact_type TEXT COLLATE "C",
  descriptor TEXT COLLATE "C",
  pushed_by TEXT COLLATE "C" NOT NULL,
  pushed_at BIGINT NOT NULL,
  deletion_id TEXT COLLATE "C" REFERENCES deletions (id),
  PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_deletion ON manifests (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX manifests_content ON manifests (digest);

-- What a manifest needs of its repository; the links it names cannot go while it has a row.
CREATE TABLE manifest_blobs (
  repository_id BIGINT NOT NULL,
  manifest_digest TEXT COLLATE "C" NOT NULL,
  blob_digest TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (repository_id, manifest_digest, blob_digest),
  FOREIGN KEY (repository_id, manifest_digest) REFERENCES manifests (repository_id, digest),
  FOREIGN KEY (repository_id, blob_digest) REFERENCES links (repository_id, digest)
);
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository_id, blob_digest);

-- A child may be missing (a sparse index): it binds by its digest once it is pushed.
CREATE TABLE manifest_children (
  repository_id BIGINT NOT NULL,
  parent_digest TEXT COLLATE "C" NOT NULL,
  child_digest TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (repository_id, parent_digest, child_digest),
  FOREIGN KEY (repository_id, parent_digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest);

CREATE TABLE tags (
  repository_id BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  updated_by TEXT COLLATE "C" NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (repository_id, name),
  FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX tags_digest ON tags (repository_id, digest);

-- What a tag pointed to before: overwritten (no deletion) or deleted. It roots its manifest for the undo window.
CREATE TABLE tag_history (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  repository_id BIGINT NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  set_by TEXT COLLATE "C" NOT NULL,
  set_at BIGINT NOT NULL,
  ended_by TEXT COLLATE "C" NOT NULL,
  ended_at BIGINT NOT NULL,
  deletion_id TEXT COLLATE "C" REFERENCES deletions (id),
  FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX tag_history_tag ON tag_history (repository_id, name, id);
CREATE INDEX tag_history_digest ON tag_history (repository_id, digest, ended_at);
CREATE INDEX tag_history_deletion ON tag_history (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX tag_history_ended ON tag_history (ended_at);

CREATE TABLE uploads (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
  repository TEXT COLLATE "C" NOT NULL,
  algorithm TEXT COLLATE "C" NOT NULL,
  object_key TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'done')),
  epoch BIGINT NOT NULL,
  offset_bytes BIGINT NOT NULL,
  hasher BYTEA NOT NULL,
  backend BYTEA NOT NULL,
  digest TEXT COLLATE "C",
  created_by TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  touched_at BIGINT NOT NULL
);
CREATE INDEX uploads_touched ON uploads (touched_at);
CREATE INDEX uploads_workspace ON uploads (workspace_id);
