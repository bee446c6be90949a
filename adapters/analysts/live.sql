-- What analysts see of the live tables: views without secrets, and the one function by which questions are asked.
-- What stands in braces is filled in by adapters/analysts/live.py.

DROP SCHEMA IF EXISTS analyst CASCADE;
CREATE SCHEMA analyst;
COMMENT ON SCHEMA analyst IS 'callfold {digest}';

-- A text as it may be shown: whole, or not at all where something in it looks like a secret.
CREATE FUNCTION analyst.shown_text(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~* '(token|authorization|password|api.?key|secret|cookie|/bot|://[^/]*@|\d(:|%3a)[a-z0-9_-]{30})'
                THEN '***' ELSE value END
$$;

-- JSON with everything hidden that a secret may be kept under, however deep; keys in their order.
CREATE FUNCTION analyst.shown_json(value json) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE json_typeof(value)
    WHEN 'object' THEN
        RETURN '{' || coalesce((
            SELECT string_agg(to_json(key)::text || ':' || CASE
                       WHEN key ~* '(token|authorization|password|api.?key|secret|cookie)'
                            AND item::text NOT IN ('""', 'null', '0', 'false', '[]', '{}') THEN '"***"'
                       ELSE analyst.shown_json(item) END, ',' ORDER BY place)
            FROM json_each(value) WITH ORDINALITY AS told (key, item, place)
        ), '') || '}';
    WHEN 'array' THEN
        RETURN '[' || coalesce((
            SELECT string_agg(analyst.shown_json(item), ',' ORDER BY place)
            FROM json_array_elements(value) WITH ORDINALITY AS told (item, place)
        ), '') || ']';
    WHEN 'string' THEN
        RETURN to_json(analyst.shown_text(value #>> '{}'))::text;
    ELSE
        RETURN value::text;
    END CASE;
END $$;

-- A stored body. What PostgreSQL cannot read (no JSON, or a character that a text cannot hold) is not shown at all.
CREATE FUNCTION analyst.shown(body bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN analyst.shown_json(convert_from(body, 'UTF8')::json);
EXCEPTION WHEN data_exception OR syntax_error OR statement_too_complex THEN
    RETURN '"***"';
END $$;

-- A rebuild puts other tables under the names; views would follow the former ones.
CREATE FUNCTION analyst.bind() RETURNS void LANGUAGE plpgsql AS $bind$
BEGIN
{bind}
END $bind$;
SELECT analyst.bind();

-- A question runs as a role that may read the views and nothing else. In a SECURITY DEFINER function nobody can
-- become anybody else, which SET ROLE alone would allow: set_config('role', …) and query_to_xml(…) in one SELECT.
CREATE FUNCTION analyst.run(question text) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER
SET search_path = analyst, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE question;
END $$;

GRANT USAGE, CREATE ON SCHEMA analyst TO {role};
ALTER FUNCTION analyst.run(text) OWNER TO {role};
REVOKE CREATE ON SCHEMA analyst FROM {role};
GRANT SELECT ON ALL TABLES IN SCHEMA analyst TO {role};
