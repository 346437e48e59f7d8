-- What this database is, in one row: whose bytes belong to it, and how old a server may be that uses it.
CREATE TABLE installation (
  one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
  id TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  -- The last migration that a server must know to use this schema. A migration that older servers cannot live with
  -- raises it to its own number.
  min_schema BIGINT NOT NULL
);
INSERT INTO installation (one, id, created_at, min_schema)
  VALUES (1, gen_random_uuid()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, 5);
