-- Nearest vectors by the index. One function for each depth of search, because the depth
-- (hnsw.ef_search) is a setting: a SET clause is allowed in a parallel worker and ends with the
-- call, where set_config() would make the function PARALLEL UNSAFE (decision 0013).
-- The statement is put together with the partition's name, which is made of two integers: the
-- planner sees one small table and its index, whatever the number of models and collections.
DO $do$
DECLARE
    depth integer;
BEGIN
    FOREACH depth IN ARRAY ARRAY[@depths@] LOOP
        EXECUTE replace($create$

CREATE OR REPLACE FUNCTION report_internal.nearest_@depth@(
    vectors text, query vector, k integer, except_id bigint, filter jsonb,
    OUT ids bigint[], OUT distances double precision[]
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = @search_path@
SET hnsw.ef_search = @depth@
SET hnsw.iterative_scan = relaxed_order
-- How far it looks for rows that pass the filters before the caller looks at all of them.
SET hnsw.max_scan_tuples = 100000
SET hnsw.scan_mem_multiplier = 4
-- Only the index gives neighbours in order. The planner, which expects hardly a row to pass the
-- filters, would rather read all rows and sort them.
SET enable_seqscan = off
SET enable_sort = off
AS $body$
BEGIN
    -- Candidates in the order of the half-precision index, some more than wanted, and their
    -- distance by the float32 vectors: what is reported is exact, and so is the order.
    EXECUTE
        'SELECT array_agg(n.record_id), array_agg(n.distance) FROM (
             SELECT e.record_id, e.embedding <=> $1 AS distance FROM ' || vectors || ' e
             WHERE e.record_id <> $3
               AND (SELECT r.text_hash = e.text_hash AND r.removed_at IS NULL'
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND r.attributes @> $4' END || '
                    FROM record r WHERE r.id = e.record_id)
             ORDER BY e.embedding::halfvec(@dimensions@) <=> $1::halfvec(@dimensions@)
             LIMIT $2 + 8) n'
    INTO ids, distances USING query, k, except_id, filter;
END
$body$

        $create$, '@depth@', depth::text);
    END LOOP;
END
$do$;

-- The same by looking at every vector; at those of some records only where they are listed.
CREATE OR REPLACE FUNCTION report_internal.nearest_exactly(
    vectors text, query vector, k integer, except_id bigint, filter jsonb, among bigint[],
    OUT ids bigint[], OUT distances double precision[]
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = @search_path@
AS $$
BEGIN
    EXECUTE
        'SELECT array_agg(n.record_id), array_agg(n.distance) FROM (
             SELECT e.record_id, e.embedding <=> $1 AS distance
             FROM ' || vectors || ' e JOIN record r ON r.id = e.record_id
             WHERE e.record_id <> $3 AND r.text_hash = e.text_hash AND r.removed_at IS NULL'
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND r.attributes @> $4' END
        || CASE WHEN among IS NULL THEN '' ELSE ' AND e.record_id = ANY ($5)' END || '
             ORDER BY round((1 - (e.embedding <=> $1))::numeric, 6) DESC, e.record_id LIMIT $2) n'
    INTO ids, distances USING query, k, except_id, filter, among;
END
$$;

-- Ids of records that pass a filter, at most so many: read through the index on attributes.
CREATE OR REPLACE FUNCTION report_internal.passing(
    collection_id bigint, filter jsonb, most integer
) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = @search_path@
SET enable_seqscan = off
AS $$
BEGIN
    RETURN (SELECT array_agg(f.id) FROM (
        SELECT r.id FROM record r
        WHERE r.collection_id = passing.collection_id AND r.removed_at IS NULL
          AND r.attributes @> filter
        LIMIT most) f);
END
$$;

-- The k nearest records that pass the filter, by the index where the place has a depth. It never
-- gives fewer rows than there are: a filter that few records pass is looked up first and those are
-- compared one by one, and where the index ends before k rows are found all rows are looked at.
CREATE OR REPLACE FUNCTION report_internal.neighbours(
    collection_id bigint, model text, vectors text, depth integer,
    query vector, k integer, except_id bigint, filter jsonb
)
RETURNS SETOF report.neighbour
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10
SET search_path = @search_path@
AS $$
#variable_conflict use_column
DECLARE
    few CONSTANT integer := 2000;
    among bigint[];
    ids bigint[];
    distances double precision[];
    exact boolean := depth IS NULL;
BEGIN
    IF filter IS NOT NULL AND NOT exact THEN
        among := report_internal.passing(collection_id, filter, few + 1);
        IF among IS NULL THEN
            RETURN;
        ELSIF cardinality(among) <= few THEN
            exact := true;
        ELSE
            among := NULL;
        END IF;
    END IF;
    IF NOT exact THEN
        CASE depth
@cases@
        END CASE;
        exact := ids IS NULL OR cardinality(ids) < k;
    END IF;
    IF exact THEN
        SELECT n.ids, n.distances INTO ids, distances
        FROM report_internal.nearest_exactly(vectors, query, k, except_id, filter, among) n;
    END IF;
    RETURN QUERY
        SELECT (row_number() OVER (ORDER BY f.score DESC, f.id))::integer,
               r.key, r.text, f.score, r.attributes, exact, model
        FROM (SELECT n.id, round((1 - n.distance)::numeric, 6)::double precision AS score
              FROM unnest(ids, distances) n(id, distance)) f
        JOIN record r ON r.id = f.id
        ORDER BY f.score DESC, f.id LIMIT k;
END
$$;
