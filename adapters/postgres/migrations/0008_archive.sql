-- Facts that were moved into files (docs/decisions/0011-store-for-years.md): one row a file, which is below
-- DATA_DIR/archive. incarnation and xid: before all of its facts in the readers' order. recovered: how many facts are,
-- since: when the first of those occurred; until: when the last of the others did.
CREATE TABLE archived (
    month date NOT NULL,
    enterprise text NOT NULL,
    file text NOT NULL,
    sha256 text NOT NULL,
    bytes bigint NOT NULL,
    facts bigint NOT NULL,
    recovered bigint NOT NULL,
    incarnation integer NOT NULL,
    xid xid8 NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    since timestamptz,
    until timestamptz,
    last_recorded_at timestamptz NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT archived_key PRIMARY KEY (month, enterprise)
);

-- The newest version of each stream in there, and in which row groups of the file it stands. key: 64 bits of the digest
-- of enterprise and stream.
CREATE TABLE archived_streams (
    key bigint NOT NULL,
    month date NOT NULL,
    version integer NOT NULL,
    first_group integer NOT NULL,
    last_group integer NOT NULL,
    CONSTRAINT archived_streams_key PRIMARY KEY (key, month)
);

-- Ends a transaction that began a stream anew whose beginning is archived.
CREATE FUNCTION facts_begin(keys bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM archived_streams WHERE key = ANY(keys)) THEN
        RAISE EXCEPTION 'the beginning of a stream is archived' USING ERRCODE = 'CF001';
    END IF;
END $$;

-- Of a recording whose fact is archived: what it said, and where it stood.
ALTER TABLE recordings ADD COLUMN archived_position bigint, ADD COLUMN archived_body bytea;

-- Rows are written eight times while their call goes on: vacuumed before a fifth of the table is dead. A fillfactor was of
-- no use, here and elsewhere (docs/decisions/0011-store-for-years.md).
ALTER TABLE calls SET (autovacuum_vacuum_scale_factor = 0.05);
