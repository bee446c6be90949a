-- The event store: facts, append-only, and what is read beside them.

-- A database that came out of a dump or a copy starts its transaction ids anew: readers order by
-- (incarnation, xid, position), and the incarnation grows when the system identifier changed.
CREATE TABLE incarnations (
    incarnation integer PRIMARY KEY,
    system_identifier text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE facts (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    incarnation integer NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    enterprise text NOT NULL,
    stream text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    idempotency_key text,
    body bytea NOT NULL,
    meta bytea NOT NULL,
    CONSTRAINT facts_stream_version UNIQUE (enterprise, stream, version)
);
CREATE UNIQUE INDEX facts_order ON facts (incarnation, xid, position);
-- Recent facts by time (what was going on when the service stopped); a few kB whatever the history.
CREATE INDEX facts_recorded ON facts USING brin (recorded_at);
CREATE UNIQUE INDEX facts_idempotency ON facts (enterprise, idempotency_key) WHERE idempotency_key IS NOT NULL;

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
);
CREATE INDEX calls_newest ON calls (enterprise, started_at DESC, call_id DESC);
CREATE INDEX calls_newest_of_all ON calls (started_at DESC, enterprise DESC, call_id DESC);
CREATE INDEX calls_of_customer ON calls (enterprise, customer, started_at DESC) WHERE customer IS NOT NULL;
CREATE INDEX calls_open ON calls (enterprise, call_id) WHERE outcome = 'open';
-- What a start looks at; of this kind, because every event of a call changes the column.
CREATE INDEX calls_recent ON calls USING brin (last_position) WITH (pages_per_range = 8, autosummarize = on);

-- Which call each UniqueId belongs to. lost: of legs that make no call yet and may still come to belong to one.
CREATE TABLE call_legs (
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    call_id text NOT NULL,
    lost boolean NOT NULL,
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
