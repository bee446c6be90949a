-- Recovered facts in the order of their times (calls.order); of the others none is in it.
CREATE INDEX facts_recovered ON facts (enterprise, occurred_at, position) WHERE source = 'recovery';

-- Enterprises whose calls are to be folded anew from a time on, because facts came that belong there; position: of the
-- first of these. Until it is done, nothing of theirs is folded.
CREATE TABLE folds_due (
    enterprise text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT folds_due_key PRIMARY KEY (enterprise)
);
