-- Which fact of its enterprise a recovered one stands behind, for whoever reads it (calls.order). Facts of kinds that no
-- call is told by do not count, and the first directory stands before everything.
ALTER TABLE facts ADD COLUMN follows bigint;

CREATE TEMPORARY TABLE told ON COMMIT DROP AS
SELECT enterprise, occurred_at, max(position) OVER (PARTITION BY enterprise ORDER BY occurred_at) AS position
FROM facts
WHERE source <> 'recovery' AND enterprise IN (SELECT enterprise FROM facts WHERE source = 'recovery')
  AND kind NOT IN ('delivery_intended', 'delivery_sent', 'delivery_edited', 'delivery_withdrawn', 'delivery_refused',
                   'callback_requested', 'customer_forgotten', 'bodies_retired', 'recording_forgotten');
CREATE INDEX ON told (enterprise, occurred_at);
CREATE TEMPORARY TABLE first_directory ON COMMIT DROP AS
SELECT directory.enterprise, max(directory.position) AS position
FROM facts directory
JOIN (
    SELECT enterprise, min(position) AS position FROM facts WHERE kind <> 'directory_changed' GROUP BY enterprise
) AS begun ON begun.enterprise = directory.enterprise AND begun.position > directory.position
WHERE directory.month = '1900-01-01' AND directory.kind = 'directory_changed'
GROUP BY directory.enterprise;
UPDATE facts SET follows = greatest(
    0,
    (SELECT position FROM told WHERE told.enterprise = facts.enterprise AND told.occurred_at <= facts.occurred_at
     ORDER BY told.occurred_at DESC LIMIT 1),
    (SELECT position FROM first_directory WHERE first_directory.enterprise = facts.enterprise)
)
WHERE source = 'recovery';

ALTER TABLE facts ADD CONSTRAINT facts_follows CHECK (follows IS NOT NULL OR source <> 'recovery');
DROP INDEX facts_recovered;
CREATE INDEX facts_recovered ON facts (enterprise, follows, occurred_at, position) WHERE source = 'recovery';
-- For finding what a recovered fact follows: some kB a million facts.
CREATE INDEX facts_occurred ON facts USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);
