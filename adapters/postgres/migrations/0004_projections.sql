-- What analysts ask beyond calls and customers (docs/analysts.md), and the state of a rebuild.

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
