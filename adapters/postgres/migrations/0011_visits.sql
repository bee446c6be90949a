-- By what a leg came to belong to a call that no bridge shows it in, for whoever folds it again without the calls beside
-- which that was decided: [[position, tie, leg], ...] (calls.switchboard.Visit). Also where rebuilds have put it.
DO $$
DECLARE
    told text;
BEGIN
    FOR told IN SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ~ '^call_legs(_old|_v[0-9]+)?$'
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN visits jsonb', told);
    END LOOP;
END $$;
