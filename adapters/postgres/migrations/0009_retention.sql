-- How far the outside numbers of an enterprise gave way to pseudonyms (docs/decisions/0015-privacy.md): what occurred
-- before upto has none, but for recovered facts behind the position recovered. wanted: upto of a run that goes on; it has
-- looked at the facts up to position, of those up to head; newest: the last fact when it began.
CREATE TABLE retention (
    enterprise text NOT NULL,
    upto timestamptz,
    recovered bigint NOT NULL DEFAULT 0,
    wanted timestamptz,
    position bigint NOT NULL DEFAULT 0,
    head bigint NOT NULL DEFAULT 0,
    newest bigint NOT NULL DEFAULT 0,
    facts bigint NOT NULL DEFAULT 0,
    numbers bigint NOT NULL DEFAULT 0,
    since timestamptz,
    done_at timestamptz,
    CONSTRAINT retention_key PRIMARY KEY (enterprise)
);

-- Legs whose facts it changed, and whose rows still tell the numbers.
CREATE TABLE retired_legs (
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    CONSTRAINT retired_legs_key PRIMARY KEY (enterprise, unique_id)
);
