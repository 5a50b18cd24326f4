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
DECLARE
    place record;
    source_id bigint;
    source_vectors text;
    record_id bigint;
    query vector;
BEGIN
    IF key IS NULL THEN
        RAISE EXCEPTION 'key must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Leave rows without a key out: WHERE key IS NOT NULL.';
    END IF;
    place := report_internal.place(
        coalesce(target, collection), model, recall, k, exact);
    IF target IS NULL OR target = collection THEN
        source_id := place.collection_id;
        source_vectors := place.vectors;
    ELSE
        SELECT p.collection_id, p.vectors INTO source_id, source_vectors
        FROM report_internal.place(collection, place.model, recall, k, true) p;
    END IF;
    SELECT r.id INTO record_id FROM record r
    WHERE r.collection_id = source_id AND r.key = $2 AND r.removed_at IS NULL;
    IF record_id IS NULL THEN
        RAISE EXCEPTION 'collection "%" has no record with key "%"', collection, key
            USING ERRCODE = 'no_data_found',
                  HINT = 'Keys are compared letter by letter; report.records lists them.';
    END IF;
    EXECUTE 'SELECT e.embedding FROM ' || source_vectors || ' e JOIN record r ON r.id = e.record_id
             WHERE e.record_id = $1 AND e.model_id = $2 AND e.collection_id = $3
               AND r.text_hash = e.text_hash'
        INTO query USING record_id, place.model_id, source_id;
    IF query IS NULL THEN
        RAISE EXCEPTION 'record "%" of collection "%" has no vector of model % for its text yet',
            key, collection, place.model
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'An operator runs: aparella embed ' || collection
                         || ' --model ' || place.model;
    END IF;
    RETURN QUERY SELECT * FROM report_internal.neighbours(
        place.collection_id, place.model, place.vectors, place.depth,
        query, k, record_id, attributes);
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
    RETURN QUERY SELECT * FROM report_internal.neighbours(
        place.collection_id, place.model, place.vectors, place.depth,
        vector, k, -1, attributes);
END
$$;
