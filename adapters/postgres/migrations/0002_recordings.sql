-- Ids of recordings: one a leg, given with the first. What is served under it, the newest fact of the leg says.
CREATE TABLE recordings (
    id text NOT NULL,
    enterprise text NOT NULL,
    unique_id text NOT NULL,
    CONSTRAINT recordings_key PRIMARY KEY (id),
    CONSTRAINT recordings_of_leg UNIQUE (enterprise, unique_id)
);

ALTER TABLE calls ADD COLUMN recordings text[] NOT NULL DEFAULT '{}';
