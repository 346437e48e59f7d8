-- What this database is, in one row: whose bytes belong to it, and how old a server may be that uses it.
CREATE TABLE installation (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  -- The last migration that a server must know to use this schema. A migration that older servers cannot live with
  -- raises it to its own number.
  min_schema INTEGER NOT NULL
) STRICT;
-- A random (version 4) UUID, from sixteen random bytes.
INSERT INTO installation (one, id, created_at, min_schema)
  SELECT 1,
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-'
      || substr('89ab', 1 + abs(random() % 4), 1) || substr(h, 18, 3) || '-' || substr(h, 21, 12),
    unixepoch() * 1000, 5
  FROM (SELECT lower(hex(randomblob(16))) AS h);
