-- Tokens of other issuers that count once and were exchanged, by digests of their issuers and ids, until they have ended.
CREATE TABLE used_tokens (
  id TEXT NOT NULL PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX used_tokens_expiry ON used_tokens (expires_at);
