-- People who were forgotten (docs/decisions/0015-privacy.md): keyed digests of number and names, never the number.
-- position: facts up to it are rewritten; since: when the first of those occurred; key_id: by which key digests are made.
CREATE TABLE forgotten (
    enterprise text NOT NULL,
    digest bytea NOT NULL,
    pseudonym text NOT NULL,
    key_id bytea NOT NULL,
    names bytea[] NOT NULL DEFAULT '{}',
    begun_at timestamptz NOT NULL DEFAULT now(),
    position bigint NOT NULL DEFAULT 0,
    facts bigint NOT NULL DEFAULT 0,
    since timestamptz,
    done_at timestamptz,
    CONSTRAINT forgotten_key PRIMARY KEY (enterprise, digest),
    CONSTRAINT forgotten_pseudonym UNIQUE (enterprise, pseudonym)
);

-- Legs that were touched by one that is not done.
CREATE TABLE forgotten_legs (
    enterprise text NOT NULL,
    pseudonym text NOT NULL,
    unique_id text NOT NULL,
    CONSTRAINT forgotten_legs_key PRIMARY KEY (enterprise, pseudonym, unique_id)
);
