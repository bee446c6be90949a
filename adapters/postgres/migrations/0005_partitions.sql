-- Facts by month (docs/decisions/0011-store-for-years.md). Every row is copied once, as it is: room for a second copy of
-- facts is needed until this is done, and nobody reads or writes meanwhile.
ALTER TABLE facts RENAME TO facts_whole;
DO $$
DECLARE
    told text;
BEGIN
    FOR told IN SELECT conname FROM pg_constraint WHERE conrelid = 'facts_whole'::regclass LOOP
        EXECUTE format('ALTER TABLE facts_whole RENAME CONSTRAINT %I TO %I', told, 'whole_' || told);
    END LOOP;
END $$;
ALTER INDEX facts_order RENAME TO facts_whole_order;
ALTER INDEX facts_recorded RENAME TO facts_whole_recorded;
ALTER SEQUENCE facts_position_seq RENAME TO facts_whole_position_seq;

-- The month by which a stream is filed: that of the UniqueId in its name; where it tells none 1900-02-01,
-- and the directory 1900-01-01.
-- adapters/store/partitions.py says the same in Python; a stream never changes its month, so neither may this.
CREATE FUNCTION facts_month(stream text) RETURNS date LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    epoch bigint := substring(stream FROM '^(?:leg|(?:delivery|notice)/-?[0-9]+)/([0-9]{10})(?:[.]|$)');
BEGIN
    IF epoch >= 946684800 AND epoch < 4102444800 THEN
        RETURN date_trunc('month', timestamp 'epoch' + epoch * interval '1 second');
    END IF;
    RETURN CASE stream WHEN 'directory' THEN '1900-01-01' ELSE '1900-02-01' END;
END $$;

-- docs/decisions/0011-store-for-years.md. position is unique by its sequence: an index of a partitioned table that says
-- so would have to hold the month too. (enterprise, stream, version) is unique because a stream has one month.
CREATE TABLE facts (
    position bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    incarnation integer NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    month date NOT NULL,
    enterprise text NOT NULL,
    stream text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    idempotency_key text,
    body bytea NOT NULL,
    meta bytea NOT NULL,
    CONSTRAINT facts_stream_version UNIQUE (enterprise, stream, version, month)
) PARTITION BY RANGE (month);
CREATE INDEX facts_position ON facts (position);
CREATE INDEX facts_order ON facts (incarnation, xid, position);

-- What is never written again needs no room on its pages (fillfactor 100), is frozen when vacuum first sees it, and is
-- seen each 100,000 facts instead of each fifth of a growing table: so no month is ever read whole to be frozen.
CREATE FUNCTION tune_facts_partition(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,'
        ' autovacuum_freeze_min_age = 0, autovacuum_analyze_scale_factor = 0.05)', partition);
END $$;

-- A month of its own; facts that came before it move there from facts_other. False: there are more than ``most`` of
-- them, and they stay. CREATE TABLE … PARTITION OF would lock out every reader of every month.
CREATE FUNCTION make_facts_partition(wanted date, most integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    partition text := 'facts_' || to_char(wanted, 'YYYY_MM');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN true;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM facts_other WHERE month = wanted LIMIT most + 1) AS early) > most THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE facts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
    PERFORM tune_facts_partition(partition::regclass);
    EXECUTE format('WITH early AS (DELETE FROM facts_other WHERE month = %L RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM early ORDER BY position', wanted, partition);
    EXECUTE format('ALTER TABLE facts ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   partition, wanted, wanted + interval '1 month');
    RETURN true;
END $$;

-- The directory, read whole at each start; streams whose name tells no month: bridges, call backs, odd ids; the months
-- that have no partition.
CREATE TABLE facts_directory PARTITION OF facts FOR VALUES FROM ('1900-01-01') TO ('1900-02-01');
CREATE TABLE facts_without_month PARTITION OF facts FOR VALUES FROM ('1900-02-01') TO ('1900-03-01');
CREATE TABLE facts_other PARTITION OF facts DEFAULT;
SELECT tune_facts_partition('facts_without_month'), tune_facts_partition('facts_other');

-- Keys that hosts gave; a table of its own, because they are unique over all months.
CREATE TABLE idempotency (
    enterprise text NOT NULL,
    key text NOT NULL,
    position bigint NOT NULL,
    version integer NOT NULL,
    CONSTRAINT idempotency_key PRIMARY KEY (enterprise, key)
);

SELECT make_facts_partition(month, 0)
FROM (SELECT DISTINCT facts_month(stream) AS month FROM facts_whole) AS told
WHERE month >= '2015-01-01' AND month <= now() + interval '2 months';

INSERT INTO facts (position, xid, occurred_at, recorded_at, incarnation, version, month, enterprise, stream, kind, source,
                   idempotency_key, body, meta)
OVERRIDING SYSTEM VALUE
SELECT position, xid, occurred_at, recorded_at, incarnation, version, facts_month(stream), enterprise, stream, kind,
       source, idempotency_key, body, meta
FROM facts_whole ORDER BY position;
INSERT INTO idempotency (enterprise, key, position, version)
SELECT enterprise, idempotency_key, position, version FROM facts_whole WHERE idempotency_key IS NOT NULL;
SELECT setval('facts_position_seq', last_value, is_called) FROM facts_whole_position_seq;
DROP TABLE facts_whole;
