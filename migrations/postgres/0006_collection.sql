-- Links wait for the collector under the time of their last step. One that only deleted manifests need is parked, until
-- their purge wakes it.
ALTER TABLE links ADD COLUMN parked BIGINT NOT NULL DEFAULT 0;
DROP INDEX links_unneeded;
CREATE INDEX links_waiting ON links ((COALESCE(condemned_at, unneeded_since)))
  WHERE unneeded_since IS NOT NULL AND parked = 0 AND deletion_id IS NULL;

-- What the deletion of an object will free, where that is known, and how often it was tried in vain.
ALTER TABLE objects ADD COLUMN size_bytes BIGINT;
ALTER TABLE objects ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;

-- When the last tag left a manifest, once the history of tags does not say it any more; and since when a referrer may
-- have been without its subject, which is looked at when its time has come.
ALTER TABLE manifests ADD COLUMN untagged_since BIGINT;
ALTER TABLE manifests ADD COLUMN dangling_since BIGINT;
UPDATE manifests SET dangling_since = pushed_at WHERE subject IS NOT NULL;
CREATE INDEX manifests_dangling ON manifests (dangling_since) WHERE dangling_since IS NOT NULL AND deletion_id IS NULL;

-- Retention leaves alone for a while what somebody has taken back.
ALTER TABLE tags ADD COLUMN restored_at BIGINT;

-- Which tags of an image go by themselves: a JSON object. One of an image stands in place of its workspace's.
CREATE TABLE workspace_retention (
  workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id),
  policy TEXT COLLATE "C" NOT NULL
);
CREATE TABLE image_retention (
  repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repositories (id),
  policy TEXT COLLATE "C" NOT NULL
);

-- Workspaces whose images are looked at for retention, when next, and how far the look under way has come.
CREATE TABLE retention_runs (
  workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id),
  due_at BIGINT NOT NULL,
  last_name TEXT COLLATE "C" NOT NULL
);
CREATE INDEX retention_runs_due ON retention_runs (due_at);
CREATE INDEX workspaces_retained ON workspaces (id) WHERE untagged_retention_days IS NOT NULL AND deleted_at IS NULL;
INSERT INTO retention_runs (workspace_id, due_at, last_name)
  SELECT id, 0, '' FROM workspaces WHERE untagged_retention_days IS NOT NULL AND deleted_at IS NULL;

-- What earlier versions left behind when they purged images: bytes without a member, a day from now.
UPDATE objects SET state = 'doomed', due_at = CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) * 1000 + 86400000
  WHERE key IN (SELECT object_key FROM blobs WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest));
DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest);
DELETE FROM manifest_contents WHERE NOT EXISTS (SELECT 1 FROM manifests WHERE manifests.digest = manifest_contents.digest);
