-- Objects: every key the storage ever saw has a row before its first byte.
CREATE TABLE objects (
  key TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('writing', 'live', 'doomed')),
  due_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX objects_due ON objects (state, due_at);

CREATE TABLE blobs (
  digest TEXT NOT NULL PRIMARY KEY,
  object_key TEXT NOT NULL UNIQUE REFERENCES objects (key),
  size_bytes INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE deletions (
  id TEXT NOT NULL PRIMARY KEY,
  workspace_id TEXT NOT NULL REFERENCES workspaces (id),
  repository TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('image', 'tag', 'manifest', 'blob')),
  subject TEXT NOT NULL,
  deleted_by TEXT NOT NULL,
  deleted_at INTEGER NOT NULL,
  restorable_until INTEGER NOT NULL
) STRICT;
CREATE INDEX deletions_workspace ON deletions (workspace_id, deleted_at, id);

-- A repository outlives its name: after a deletion the name may start a new one.
CREATE TABLE repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace_id TEXT NOT NULL REFERENCES workspaces (id),
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  image_at INTEGER,
  deletion_id TEXT REFERENCES deletions (id)
) STRICT;
CREATE INDEX repositories_deletion ON repositories (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX repositories_images ON repositories (workspace_id, name) WHERE image_at IS NOT NULL AND deletion_id IS NULL;

-- Images claim their names here, and so will aliases: one name, one meaning.
CREATE TABLE names (
  name TEXT NOT NULL PRIMARY KEY,
  repository_id INTEGER NOT NULL UNIQUE REFERENCES repositories (id)
) STRICT;

-- A link is a blob's membership of one repository.
CREATE TABLE links (
  repository_id INTEGER NOT NULL REFERENCES repositories (id),
  digest TEXT NOT NULL REFERENCES blobs (digest),
  created_at INTEGER NOT NULL,
  unneeded_since INTEGER,
  condemned_at INTEGER,
  deletion_id TEXT REFERENCES deletions (id),
  PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_digest ON links (digest);
CREATE INDEX links_deletion ON links (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX links_unneeded ON links (unneeded_since) WHERE unneeded_since IS NOT NULL;

CREATE TABLE manifest_contents (
  digest TEXT NOT NULL PRIMARY KEY,
  bytes BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE manifests (
  repository_id INTEGER NOT NULL REFERENCES repositories (id),
  digest TEXT NOT NULL REFERENCES manifest_contents (digest),
  media_type TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  subject TEXT,
  artifact_type TEXT,
  descriptor TEXT,
  pushed_by TEXT NOT NULL,
  pushed_at INTEGER NOT NULL,
  deletion_id TEXT REFERENCES deletions (id),
  PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_deletion ON manifests (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX manifests_content ON manifests (digest);

-- What a manifest needs of its repository; the links it names cannot go while it has a row.
CREATE TABLE manifest_blobs (
  repository_id INTEGER NOT NULL,
  manifest_digest TEXT NOT NULL,
  blob_digest TEXT NOT NULL,
  PRIMARY KEY (repository_id, manifest_digest, blob_digest),
  FOREIGN KEY (repository_id, manifest_digest) REFERENCES manifests (repository_id, digest),
  FOREIGN KEY (repository_id, blob_digest) REFERENCES links (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository_id, blob_digest);

-- A child may be missing (a sparse index): it binds by its digest once it is pushed.
CREATE TABLE manifest_children (
  repository_id INTEGER NOT NULL,
  parent_digest TEXT NOT NULL,
  child_digest TEXT NOT NULL,
  PRIMARY KEY (repository_id, parent_digest, child_digest),
  FOREIGN KEY (repository_id, parent_digest) REFERENCES manifests (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest);

CREATE TABLE tags (
  repository_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (repository_id, name),
  FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_digest ON tags (repository_id, digest);

-- What a tag pointed to before: overwritten (no deletion) or deleted. It roots its manifest for the undo window.
CREATE TABLE tag_history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  set_by TEXT NOT NULL,
  set_at INTEGER NOT NULL,
  ended_by TEXT NOT NULL,
  ended_at INTEGER NOT NULL,
  deletion_id TEXT REFERENCES deletions (id),
  FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
) STRICT;
CREATE INDEX tag_history_tag ON tag_history (repository_id, name, id);
CREATE INDEX tag_history_digest ON tag_history (repository_id, digest, ended_at);
CREATE INDEX tag_history_deletion ON tag_history (deletion_id) WHERE deletion_id IS NOT NULL;
CREATE INDEX tag_history_ended ON tag_history (ended_at);

CREATE TABLE uploads (
  id TEXT NOT NULL PRIMARY KEY,
  workspace_id TEXT NOT NULL REFERENCES workspaces (id),
  repository TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  object_key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'done')),
  epoch INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL,
  hasher BLOB NOT NULL,
  backend BLOB NOT NULL,
  digest TEXT,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  touched_at INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_touched ON uploads (touched_at);
CREATE INDEX uploads_workspace ON uploads (workspace_id);
