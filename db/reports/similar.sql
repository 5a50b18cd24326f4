-- Nearest neighbours of one record or one vector.

CREATE OR REPLACE FUNCTION report.similar(
    collection text,
    key text,
    k integer DEFAULT 10,
    target text DEFAULT NULL,
    attributes jsonb DEFAULT NULL,
    recall double precision DEFAULT 0.99,
    exact boolean DEFAULT false,
    model text DEFAULT NULL
)
RETURNS SETOF report.neighbour
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10 COST 1000
SET search_path = @search_path@
AS $$
#variable_conflict use_variable
DECLARE
    place record;
    source_id bigint;
    source_vectors text;
    record_id bigint;
    text_hash bytea;
    query vector;
    depth integer;
    several report.neighbour[];
    found report.neighbour;
    number integer := 0;
BEGIN
    -- The usual case at the price of one statement. Whatever is not as usual finds nothing here,
    -- and is looked into below.
    IF target IS NULL AND model IS NULL AND NOT exact
        AND k BETWEEN 1 AND 1000 AND recall BETWEEN 0.5 AND 1
    THEN
        SELECT c.id AS collection_id, m.id AS model_id, m.name || '@' || m.version AS model,
               'embedding_' || m.id || '_' || c.id AS vectors, r.id, r.text_hash,
               (SELECT min(i.ef_search) FROM index_recall i
                WHERE i.model_id = m.id AND i.collection_id = c.id
                  AND i.recall >= $6 AND i.ef_search >= k) AS depth
        INTO place
        FROM collection c JOIN record r ON r.collection_id = c.id, model m
        WHERE c.name = collection AND r.key = $2 AND r.removed_at IS NULL
          AND m.status = 'promoted'
          AND to_regclass('embedding_' || m.id || '_' || c.id) IS NOT NULL;
        depth := place.depth;
        IF depth IS NOT NULL AND k <= 10 AND attributes IS NULL THEN
            EXECUTE 'SELECT report_internal.near_' || place.model_id || '_' || place.collection_id
                    || '_' || place.depth || '($1, $2, NULL, $3, $4)'
            INTO several USING place.id, place.text_hash, k, place.model;
        END IF;
    END IF;
    IF cardinality(several) = k THEN
        FOREACH found IN ARRAY several LOOP
            number := number + 1;
            found.rank := number;
            RETURN NEXT found;
        END LOOP;
        RETURN;
    END IF;
    IF depth IS NOT NULL THEN
        source_id := place.collection_id;
        source_vectors := place.vectors;
        record_id := place.id;
        text_hash := place.text_hash;
    ELSE
        IF key IS NULL THEN
            RAISE EXCEPTION 'key must not be NULL'
                USING ERRCODE = 'null_value_not_allowed',
                      HINT = 'Leave rows without a key out: WHERE key IS NOT NULL.';
        END IF;
        place := report_internal.place(coalesce(target, collection), model, recall, k, exact);
        IF target IS NULL OR target = collection THEN
            source_id := place.collection_id;
            source_vectors := place.vectors;
        ELSE
            SELECT p.collection_id, p.vectors INTO source_id, source_vectors
            FROM report_internal.place(collection, place.model, recall, k, true) p;
        END IF;
        SELECT r.id, r.text_hash INTO record_id, text_hash FROM record r
        WHERE r.collection_id = source_id AND r.key = $2 AND r.removed_at IS NULL;
        IF record_id IS NULL THEN
            RAISE EXCEPTION 'collection "%" has no record with key "%"', collection, key
                USING ERRCODE = 'no_data_found',
                      HINT = 'Keys are compared letter by letter; report.records lists them.';
        END IF;
    END IF;
    EXECUTE 'SELECT e.embedding FROM ' || source_vectors || ' e
             WHERE e.model_id = $1 AND e.collection_id = $2 AND e.record_id = $3
               AND e.text_hash = $4'
        INTO query USING place.model_id, source_id, record_id, text_hash;
    IF query IS NULL THEN
        RAISE EXCEPTION 'record "%" of collection "%" has no vector of model % for its text yet',
            key, collection, place.model
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'An operator runs: aparella embed ' || collection
                         || ' --model ' || place.model;
    END IF;
    FOREACH found IN ARRAY report_internal.neighbours(
        place.collection_id, place.model, place.vectors, place.depth,
        query, k, record_id, attributes)
    LOOP
        number := number + 1;
        found.rank := number;
        RETURN NEXT found;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION report.similar_to_vector(
    collection text,
    vector vector,
    k integer DEFAULT 10,
    attributes jsonb DEFAULT NULL,
    recall double precision DEFAULT 0.99,
    exact boolean DEFAULT false,
    model text DEFAULT NULL
)
RETURNS SETOF report.neighbour
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10 COST 1000
SET search_path = @search_path@
AS $$
DECLARE
    place record;
    found report.neighbour;
    number integer := 0;
BEGIN
    IF vector IS NULL THEN
        RAISE EXCEPTION 'vector must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'The vector of a text is report.embedding_of(text, wait => ''10 s'').';
    END IF;
    place := report_internal.place(collection, model, recall, k, exact);
    IF vector_dims(vector) <> @dimensions@ THEN
        RAISE EXCEPTION 'the vector has % dimensions, and model % makes vectors of @dimensions@',
            vector_dims(vector), place.model
            USING ERRCODE = 'data_exception',
                  HINT = 'Only vectors of the same model can be compared.';
    END IF;
    FOREACH found IN ARRAY report_internal.neighbours(
        place.collection_id, place.model, place.vectors, place.depth,
        vector, k, -1, attributes)
    LOOP
        number := number + 1;
        found.rank := number;
        RETURN NEXT found;
    END LOOP;
END
$$;
