-- The event store: facts, append-only, and what is read beside them.

-- A database that came out of a dump or a copy starts its transaction ids anew: readers order by
-- (incarnation, xid, position), and the incarnation grows when the system identifier changed.
CREATE TABLE incarnations (
    incarnation integer PRIMARY KEY,
    system_identifier text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);

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
    follows bigint,
    CONSTRAINT facts_stream_version UNIQUE (enterprise, stream, version, month),
    CONSTRAINT facts_follows CHECK (follows IS NOT NULL OR source <> 'recovery')
) PARTITION BY RANGE (month);
CREATE INDEX facts_position ON facts (position);
CREATE INDEX facts_order ON facts (incarnation, xid, position);
-- Recovered facts in the order of the fold (calls.order): follows is the position that each stands behind, whoever reads
-- it. Of the others none is in it.
CREATE INDEX facts_recovered ON facts (enterprise, follows, occurred_at, position) WHERE source = 'recovery';
-- For finding what a recovered fact follows: some kB a million facts.
CREATE INDEX facts_occurred ON facts USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);

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

-- Ends a transaction whose callers were already told that nothing was stored.
CREATE FUNCTION facts_in_time(allowed interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF clock_timestamp() - transaction_timestamp() > allowed THEN
        RAISE EXCEPTION 'the time to commit is over' USING ERRCODE = 'query_canceled';
    END IF;
END $$;

-- Bodies that were refused (400, 403), kept for 30 days.
CREATE TABLE rejected (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    path text NOT NULL,
    status integer NOT NULL,
    reason text NOT NULL,
    enterprise text,
    sender text,
    size integer NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX rejected_received ON rejected (received_at);

-- Facts that an actor or a projection could not fold; `callfold parked` lists and replays them.
CREATE TABLE parked (
    place text NOT NULL,
    position bigint NOT NULL,
    enterprise text NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (place, position)
);

-- Secrets are no facts: Asterisk's Token and where the bot token comes from.
CREATE TABLE secrets (
    enterprise text PRIMARY KEY,
    token text NOT NULL,
    bot_kind text NOT NULL CHECK (bot_kind IN ('literal', 'preview', 'env', 'file')),
    bot_value text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- checked at commit, so that two enterprises may change their Tokens for each other's
    CONSTRAINT secrets_token UNIQUE (token) DEFERRABLE INITIALLY DEFERRED
);

-- Where the instance that writes can be reached (one row at most).
CREATE TABLE leader (
    sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
    instance text NOT NULL,
    url text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

-- How far each projection has come, in the readers' order.
CREATE TABLE checkpoints (
    projection text PRIMARY KEY,
    fold_version integer NOT NULL,
    incarnation integer NOT NULL,
    xid xid8 NOT NULL,
    position bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Rows are written eight times while their call goes on: vacuumed before a fifth of the table is dead. A fillfactor was of
-- no use, here and elsewhere (docs/decisions/0011-store-for-years.md).
CREATE TABLE calls (
    enterprise text NOT NULL,
    call_id text NOT NULL,
    direction text NOT NULL,
    origin text NOT NULL,
    outcome text NOT NULL,
    customer text,
    line text,
    caller text,
    dialled text,
    rung text[] NOT NULL,
    answered_by text,
    talked text[] NOT NULL,
    consulted text[] NOT NULL,
    started_at timestamptz NOT NULL,
    answered_at timestamptz,
    ended_at timestamptz,
    wait_s numeric,
    talk_s numeric,
    total_s numeric,
    source text NOT NULL,
    legs text[] NOT NULL,
    last_position bigint NOT NULL,
    recordings text[] NOT NULL DEFAULT '{}',
    CONSTRAINT calls_key PRIMARY KEY (enterprise, call_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX calls_newest ON calls (enterprise, started_at DESC, call_id DESC);
CREATE INDEX calls_newest_of_all ON calls (started_at DESC, enterprise DESC, call_id DESC);
CREATE INDEX calls_of_customer ON calls (enterprise, customer, started_at DESC) WHERE customer IS NOT NULL;
CREATE INDEX calls_open ON calls (enterprise, call_id) WHERE outcome = 'open';
-- What a start looks at; of this kind, because every event of a call changes the column.
CREATE INDEX calls_recent ON calls USING brin (last_position) WITH (pages_per_range = 8, autosummarize = on);

-- Which call each UniqueId belongs to. lost: of legs that make no call yet and may still come to belong to one.
-- visits: by what it came to be the guest of others, [[position, tie, leg], ...] (calls.switchboard.Visit).
CREATE TABLE call_legs (
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    call_id text NOT NULL,
    lost boolean NOT NULL,
    visits jsonb,
    CONSTRAINT call_legs_key PRIMARY KEY (enterprise, unique_id)
);
CREATE INDEX call_legs_of_call ON call_legs (enterprise, call_id);
CREATE INDEX call_legs_lost ON call_legs (enterprise, unique_id) WHERE lost;

CREATE TABLE customers (
    enterprise text NOT NULL,
    phone text NOT NULL,
    name text,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    in_total integer NOT NULL,
    in_answered integer NOT NULL,
    in_missed integer NOT NULL,
    out_total integer NOT NULL,
    out_answered integer NOT NULL,
    out_missed integer NOT NULL,
    last_call_at timestamptz NOT NULL,
    last_direction text NOT NULL,
    last_outcome text NOT NULL,
    last_talked text[] NOT NULL,
    last_line text,
    CONSTRAINT customers_key PRIMARY KEY (enterprise, phone)
);
CREATE INDEX customers_newest ON customers (enterprise, last_call_at DESC, phone DESC);

-- The place of each leg in its call.
CREATE TABLE legs (
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    call_id text NOT NULL,
    role text NOT NULL,
    number text,
    leads boolean NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    entered_at timestamptz,
    left_at timestamptz,
    hung_up_at timestamptz,
    answered boolean,
    CONSTRAINT legs_key PRIMARY KEY (enterprise, unique_id)
);
CREATE INDEX legs_of_call ON legs (enterprise, call_id);

-- Each person's part in a call; agents are summed up from it.
CREATE TABLE call_agents (
    enterprise text NOT NULL,
    call_id text NOT NULL,
    extension text NOT NULL,
    day date NOT NULL,
    rung boolean NOT NULL,
    answered boolean NOT NULL,
    missed boolean NOT NULL,
    lost boolean NOT NULL,
    talked_s numeric,
    transfers_in integer NOT NULL,
    transfers_out integer NOT NULL,
    CONSTRAINT call_agents_key PRIMARY KEY (enterprise, call_id, extension)
);
CREATE INDEX call_agents_of_day ON call_agents (enterprise, extension, day);

CREATE TABLE agents (
    enterprise text NOT NULL,
    extension text NOT NULL,
    day date NOT NULL,
    calls integer NOT NULL,
    rung integer NOT NULL,
    answered integer NOT NULL,
    missed integer NOT NULL,
    lost integer NOT NULL,
    talked_s numeric NOT NULL,
    transfers_in integer NOT NULL,
    transfers_out integer NOT NULL,
    CONSTRAINT agents_key PRIMARY KEY (enterprise, extension, day)
);

-- line: '' where no event named it. Percentiles are waits and talks that were, none in between.
CREATE TABLE traffic (
    enterprise text NOT NULL,
    line text NOT NULL,
    direction text NOT NULL,
    hour timestamptz NOT NULL,
    begun integer NOT NULL,
    answered integer NOT NULL,
    missed integer NOT NULL,
    lost integer NOT NULL,
    wait_p50_s numeric,
    wait_p90_s numeric,
    talk_p50_s numeric,
    talk_p90_s numeric,
    CONSTRAINT traffic_key PRIMARY KEY (enterprise, line, direction, hour)
);

-- Each enterprise's host, by its events alone.
CREATE TABLE hosts (
    enterprise text NOT NULL,
    events bigint NOT NULL,
    recovered bigint NOT NULL,
    first_event_at timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    longest_silence_s numeric NOT NULL,
    longest_silence_at timestamptz NOT NULL,
    gaps integer NOT NULL,
    skew_s numeric,
    skew_at timestamptz,
    CONSTRAINT hosts_key PRIMARY KEY (enterprise)
);

-- Enterprises whose calls are to be folded anew from a time on, because facts came that belong there; position: of the
-- first of these. Until it is done, nothing of theirs is folded.
CREATE TABLE folds_due (
    enterprise text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT folds_due_key PRIMARY KEY (enterprise)
);

-- The rebuild that goes on, if one does: what it makes, and upto which fact its shards fold by themselves.
CREATE TABLE rebuilds (
    sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
    suffix text NOT NULL,
    plan bytea NOT NULL,
    incarnation integer NOT NULL,
    xid xid8 NOT NULL,
    position bigint NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE rebuild_numbers;

-- How far the folding of some enterprises has come in it.
CREATE TABLE rebuild_shards (
    shard integer PRIMARY KEY,
    enterprises text[] NOT NULL,
    incarnation integer NOT NULL DEFAULT 0,
    xid xid8 NOT NULL DEFAULT '0',
    position bigint NOT NULL DEFAULT 0,
    facts bigint NOT NULL DEFAULT 0,
    expected bigint NOT NULL,
    done boolean NOT NULL DEFAULT false
);

-- What the built-in preview shows in the place of Telegram.
CREATE TABLE preview_messages (
    chat_id bigint NOT NULL,
    message_id bigint NOT NULL,
    enterprise text NOT NULL,
    text text NOT NULL,
    sent_at timestamptz NOT NULL,
    edited_at timestamptz,
    edits integer NOT NULL DEFAULT 0,
    deleted boolean NOT NULL DEFAULT false,
    history jsonb NOT NULL DEFAULT '[]',
    -- The buttons below it, row by row, and whether a reader wrote it.
    markup jsonb NOT NULL DEFAULT '[]',
    own boolean NOT NULL DEFAULT false,
    PRIMARY KEY (chat_id, message_id)
);

-- Ids of recordings: one a leg, given with the first. What is served under it, the newest fact of the leg says.
CREATE TABLE recordings (
    id text NOT NULL,
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    -- Of one whose fact is archived: where it stood, and what it said.
    archived_position bigint,
    archived_body bytea,
    CONSTRAINT recordings_key PRIMARY KEY (id),
    CONSTRAINT recordings_of_leg UNIQUE (enterprise, unique_id)
);

-- Keys by which a chat may subscribe once; only their digests are kept. chat_id: for whom one is reserved.
CREATE TABLE invitations (
    digest bytea PRIMARY KEY,
    enterprise text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    chat_id bigint,
    used_at timestamptz
);
CREATE INDEX invitations_expiry ON invitations (expires_at);

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
