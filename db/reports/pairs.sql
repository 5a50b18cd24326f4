-- Nearest neighbours of many records at once, by one statement.

-- As nearest_N: one function for each depth of search; pairs_0 compares every record with every
-- other. Each source record that has a fitting vector, with its k best of the target.
DO $do$
DECLARE
    depth integer;
BEGIN
    FOREACH depth IN ARRAY ARRAY[0, @depths@] LOOP
        EXECUTE replace(replace(replace(replace(replace($create$

CREATE OR REPLACE FUNCTION report_internal.pairs_@depth@(
    source_vectors text, target_vectors text, min_score double precision, k integer,
    filter jsonb, source_filter jsonb
)
RETURNS TABLE (source_id bigint, target_id bigint, score double precision, place bigint)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1000
@settings@
AS $body$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT q.record_id, f.record_id, f.score, f.place
         FROM ' || source_vectors || ' q
         JOIN record s ON s.id = q.record_id AND s.text_hash = q.text_hash AND s.removed_at IS NULL'
        || CASE WHEN source_filter IS NULL THEN '' ELSE ' AND s.attributes @> $4' END || '
         CROSS JOIN LATERAL (
             SELECT n.record_id, n.score,
                    row_number() OVER (ORDER BY n.score DESC, n.record_id) AS place
             FROM (
                 SELECT c.record_id, round((1 - c.distance)::numeric, 6)::float8 AS score
                 FROM (
                     SELECT e.record_id, e.embedding <=> q.embedding AS distance
                     FROM ' || target_vectors || ' e @fitting@
                       AND e.record_id <> q.record_id'
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND r.attributes @> $3' END || '@close@
                     ORDER BY @order@
                     LIMIT $2 + 4) c) n) f
         WHERE f.score >= $1 AND f.place <= $2'
    USING min_score, k, filter, source_filter;
END
$body$

        $create$,
            '@depth@', depth::text),
            -- By the index a row at a time is looked up, until enough have passed; without it all
            -- rows pass by, and are joined.
            '@fitting@', CASE depth WHEN 0
                THEN 'JOIN record r ON r.id = e.record_id
                     WHERE r.text_hash = e.text_hash AND r.removed_at IS NULL'
                ELSE 'WHERE (SELECT r.text_hash = e.text_hash AND r.removed_at IS NULL' END),
            '@close@', CASE depth WHEN 0 THEN '' ELSE ' FROM record r WHERE r.id = e.record_id)' END),
            '@settings@', CASE depth WHEN 0 THEN '' ELSE format(
                'SET hnsw.ef_search = %s SET hnsw.iterative_scan = relaxed_order '
                'SET hnsw.max_scan_tuples = 100000 SET hnsw.scan_mem_multiplier = 4 '
                'SET enable_seqscan = off SET enable_sort = off', depth) END),
            '@order@', CASE depth WHEN 0 THEN 'e.embedding <=> q.embedding' ELSE
                'e.embedding::halfvec(@dimensions@) <=> q.embedding::halfvec(@dimensions@)' END);
    END LOOP;
END
$do$;

CREATE OR REPLACE FUNCTION report_internal.pairs(
    source_vectors text, target_vectors text, depth integer,
    min_score double precision, k integer, filter jsonb, source_filter jsonb
)
RETURNS TABLE (source_id bigint, target_id bigint, score double precision, place bigint)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1000
AS $$
BEGIN
    CASE coalesce(depth, 0)
    WHEN 0 THEN
        RETURN QUERY SELECT * FROM report_internal.pairs_0(
            source_vectors, target_vectors, min_score, k, filter, source_filter);
@cases@
    END CASE;
END
$$;

CREATE OR REPLACE FUNCTION report.nearest_pairs(
    source text,
    target text,
    min_score double precision DEFAULT -1,
    k integer DEFAULT 1,
    attributes jsonb DEFAULT NULL,
    recall double precision DEFAULT 0.99,
    exact boolean DEFAULT false,
    model text DEFAULT NULL
)
RETURNS SETOF report.pair
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1000 COST 100000
SET search_path = @search_path@
AS $$
DECLARE
    place record;
    source_vectors text;
BEGIN
    PERFORM report_internal.check_score(min_score);
    place := report_internal.place(target, model, recall, k, exact);
    SELECT p.vectors INTO source_vectors
    FROM report_internal.place(source, place.model, recall, k, true) p;
    RETURN QUERY
        SELECT s.key, s.text, p.place::integer, t.key, t.text, p.score,
               place.depth IS NULL, place.model
        FROM report_internal.pairs(
                 source_vectors, place.vectors, place.depth, min_score, k,
                 nearest_pairs.attributes, NULL) p
        JOIN record s ON s.id = p.source_id
        JOIN record t ON t.id = p.target_id
        ORDER BY s.id, p.place;
END
$$;

-- Each pair once, the record that came first on the left. A record is compared with its k nearest
-- only: of more than k duplicates of one record some pairs may be missing, never all.
CREATE OR REPLACE FUNCTION report.duplicates(
    collection text,
    min_score double precision DEFAULT 0.95,
    k integer DEFAULT 10,
    attributes jsonb DEFAULT NULL,
    recall double precision DEFAULT 0.99,
    exact boolean DEFAULT false,
    model text DEFAULT NULL
)
RETURNS SETOF report.duplicate
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1000 COST 100000
SET search_path = @search_path@
AS $$
DECLARE
    place record;
BEGIN
    PERFORM report_internal.check_score(min_score);
    place := report_internal.place(collection, model, recall, k, exact);
    RETURN QUERY
        SELECT a.key, a.text, b.key, b.text, d.score, place.depth IS NULL, place.model
        FROM (
            SELECT least(p.source_id, p.target_id) AS first_id,
                   greatest(p.source_id, p.target_id) AS second_id, max(p.score) AS score
            FROM report_internal.pairs(
                     place.vectors, place.vectors, place.depth, min_score, k,
                     duplicates.attributes, duplicates.attributes) p
            GROUP BY 1, 2) d
        JOIN record a ON a.id = d.first_id
        JOIN record b ON b.id = d.second_id
        ORDER BY d.score DESC, d.first_id, d.second_id;
END
$$;
