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
    vectors text, query vector, most integer, filtered boolean, filter jsonb,
    OUT ids bigint[], OUT hashes bytea[], OUT distances double precision[]
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
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
    -- In the order of the half-precision index, with the distance by the float32 vectors: what is
    -- reported is exact, and so is the order that the caller puts them into.
    EXECUTE
        'SELECT array_agg(n.record_id), array_agg(n.text_hash), array_agg(n.distance) FROM (
             SELECT e.record_id, e.text_hash, e.embedding <=> $1 AS distance
             FROM ' || vectors || ' e'
        || CASE WHEN NOT filtered THEN '' ELSE '
             WHERE (SELECT r.text_hash = e.text_hash AND r.removed_at IS NULL'
            || CASE WHEN filter IS NULL THEN '' ELSE ' AND r.attributes @> $3' END || '
                    FROM record r WHERE r.id = e.record_id)' END || '
             ORDER BY e.embedding::halfvec(@dimensions@) <=> $1::halfvec(@dimensions@)
             LIMIT $2) n'
    INTO ids, hashes, distances USING query, most, filter;
END
$body$

        $create$, '@depth@', depth::text);
    END LOOP;
END
$do$;

-- The same by looking at every vector; at those of some records only where they are listed.
CREATE OR REPLACE FUNCTION report_internal.nearest_exactly(
    vectors text, query vector, most integer, filter jsonb, among bigint[],
    OUT ids bigint[], OUT hashes bytea[], OUT distances double precision[]
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    EXECUTE
        'SELECT array_agg(n.record_id), array_agg(n.text_hash), array_agg(n.distance) FROM (
             SELECT e.record_id, e.text_hash, e.embedding <=> $1 AS distance
             FROM ' || vectors || ' e JOIN record r ON r.id = e.record_id
             WHERE r.text_hash = e.text_hash AND r.removed_at IS NULL'
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND r.attributes @> $3' END
        || CASE WHEN among IS NULL THEN '' ELSE ' AND e.record_id = ANY ($4)' END || '
             ORDER BY round((1 - (e.embedding <=> $1))::numeric, 6) DESC, e.record_id LIMIT $2) n'
    INTO ids, hashes, distances USING query, most, filter, among;
END
$$;

-- Ids of records that pass a filter, at most so many: read through the index on attributes.
CREATE OR REPLACE FUNCTION report_internal.passing(
    collection_id bigint, filter jsonb, most integer
) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
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

-- Candidates as rows, without those that were removed or have another text by now.
CREATE OR REPLACE FUNCTION report_internal.presented(
    candidates record, except_id bigint, k integer, exact boolean, model text
) RETURNS report.neighbour[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    found report.neighbour[];
BEGIN
    SELECT array_agg(ROW(0, r.key, r.text, n.score, r.attributes, presented.exact,
                         presented.model)::report.neighbour ORDER BY n.score DESC, n.id)
    INTO found
    FROM (SELECT c.id, c.hash, round((1 - c.distance)::numeric, 6)::double precision AS score
          FROM unnest(candidates.ids, candidates.hashes, candidates.distances)
               c(id, hash, distance)) n
    JOIN record r ON r.id = n.id AND r.text_hash = n.hash AND r.removed_at IS NULL
    WHERE n.id <> except_id;
    RETURN found[:k];
END
$$;

-- The k nearest records that pass the filter, by the index where there is a depth. It never gives
-- fewer rows than there are: a filter that few records pass is looked up first and those are
-- compared one by one, and where the index ends before k rows are found all rows are looked at.
CREATE OR REPLACE FUNCTION report_internal.neighbours(
    collection_id bigint, model text, vectors text, depth integer,
    query vector, k integer, except_id bigint, filter jsonb
)
RETURNS report.neighbour[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    few CONSTANT integer := 2000;
    -- Beyond those wanted: the record itself, and some that half precision has put too far back.
    most CONSTANT integer := k + 9;
    among bigint[];
    candidates record;
    found report.neighbour[];
    -- Removed records and old texts are left out afterwards, which is cheaper, unless too many of
    -- the candidates were such: then once more with that filter within the search.
    filtered boolean := filter IS NOT NULL;
BEGIN
    IF filter IS NOT NULL AND depth IS NOT NULL THEN
        among := report_internal.passing(collection_id, filter, few + 1);
        IF among IS NULL THEN
            RETURN '{}';
        ELSIF cardinality(among) <= few THEN
            depth := NULL;
        ELSE
            among := NULL;
        END IF;
    END IF;
    WHILE depth IS NOT NULL LOOP
        -- Assignments, not queries: they are evaluated without the executor.
        CASE depth
@cases@
        END CASE;
        found := report_internal.presented(candidates, except_id, k, false, model);
        IF cardinality(found) = k THEN
            RETURN found;
        END IF;
        EXIT WHEN filtered;
        filtered := true;
    END LOOP;
    candidates := report_internal.nearest_exactly(vectors, query, most, filter, among);
    RETURN coalesce(report_internal.presented(candidates, except_id, k, true, model), '{}');
END
$$;

-- The usual question, at most 10 neighbours of a record without a filter, by functions
-- that an index build makes for its partition, one for each depth: their statements are planned
-- once in a session, where one that is put together is planned at each call, which takes as long
-- as a quarter of the search itself. NULL where the record has no fitting vector. They search once:
-- to be able to go on, an iterative scan keeps whatever it comes by, at 8 % of its time. Where that
-- is not enough, because many candidates were removed, the caller searches again as above.
-- Workers call it, who may create no function: it has its owner's rights.
CREATE OR REPLACE FUNCTION report_internal.attach(model_id bigint, collection_id bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = @search_path@
AS $do$
DECLARE
    depth integer;
    name text;
BEGIN
    IF to_regclass(format('embedding_%s_%s', model_id, collection_id)) IS NULL THEN
        RETURN;
    END IF;
    FOREACH depth IN ARRAY ARRAY[@depths@] LOOP
        name := format('report_internal.near_%s_%s_%s', model_id, collection_id, depth);
        EXECUTE format($create$

CREATE OR REPLACE FUNCTION %1$s(
    record_id bigint, text_hash bytea, query vector, k integer, model text
)
RETURNS report.neighbour[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET hnsw.ef_search = %2$s
SET hnsw.iterative_scan = off
SET enable_seqscan = off
SET enable_sort = off
SET plan_cache_mode = force_generic_plan
AS $body$
#variable_conflict use_column
DECLARE
    found report.neighbour[];
BEGIN
    IF query IS NULL THEN
        SELECT e.embedding INTO query FROM embedding_%3$s_%4$s e
        WHERE e.model_id = %3$s AND e.collection_id = %4$s
          AND e.record_id = $1 AND e.text_hash = $2;
        IF query IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    SELECT array_agg(ROW(0, r.key, r.text, n.score, r.attributes, false, $5)::report.neighbour
                     ORDER BY n.score DESC, n.record_id)
    INTO found
    FROM (SELECT e.record_id, e.text_hash,
                 round((1 - (e.embedding <=> query))::numeric, 6)::double precision AS score
          FROM embedding_%3$s_%4$s e
          ORDER BY e.embedding::halfvec(@dimensions@) <=> query::halfvec(@dimensions@)
          LIMIT 16) n
    JOIN record r ON r.id = n.record_id AND r.text_hash = n.text_hash AND r.removed_at IS NULL
    WHERE n.record_id <> $1;
    RETURN coalesce(found[:k], '{}');
END
$body$

            $create$, name, depth, model_id, collection_id);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END
$do$;
