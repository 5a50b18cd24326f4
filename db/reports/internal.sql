-- What the functions of schema report share. Nobody else has USAGE on schema report_internal.
-- The functions of schema report have their search_path pinned: @search_path@ is put in by
-- aparella.db.reporting and begins with pg_catalog and ends with pg_temp, so that no caller can
-- slip a function or an operator of their own under it. Those here are called by them alone and
-- take it over: pinning it again at each level costs more than all the rest of a call.

-- The promoted model, or the one that NAME or NAME@VERSION means; its vectors of a collection; how
-- deep the index must be searched for a wanted recall.
CREATE OR REPLACE FUNCTION report_internal.place(
    wanted_collection text,
    wanted_model text,
    recall double precision,
    k integer,
    exact boolean,
    OUT collection_id bigint,
    OUT model_id bigint,
    OUT model text,
    OUT vectors text,
    OUT depth integer
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    known text;
    measured boolean;
BEGIN
    -- The usual case, at the price of one statement; what is missing is found out below.
    IF wanted_model IS NULL AND k BETWEEN 1 AND 1000 AND recall BETWEEN 0.5 AND 1 AND NOT exact THEN
        SELECT c.id, m.id, m.name || '@' || m.version,
               'embedding_' || m.id || '_' || c.id,
               (SELECT min(i.ef_search) FROM index_recall i
                WHERE i.model_id = m.id AND i.collection_id = c.id
                  AND i.recall >= place.recall AND i.ef_search >= place.k)
        INTO collection_id, model_id, model, vectors, depth
        FROM collection c, model m
        WHERE c.name = wanted_collection AND m.status = 'promoted';
        IF depth IS NOT NULL AND to_regclass(vectors) IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;

    IF wanted_collection IS NULL OR recall IS NULL OR k IS NULL OR exact IS NULL THEN
        RAISE EXCEPTION 'collection, k, recall and exact must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Give every argument a value, or leave it out.';
    END IF;
    IF k NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'k is %, which is not between 1 and 1000', k
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Ask for at most 1000 rows. All pairs of two collections are '
                         'report.nearest_pairs.';
    END IF;
    IF recall NOT BETWEEN 0.5 AND 1 THEN
        RAISE EXCEPTION 'recall is %, which is not between 0.5 and 1', recall
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write recall => 0.99 for 99 of 100 true neighbours, or exact => true.';
    END IF;

    SELECT c.id INTO collection_id FROM collection c WHERE c.name = wanted_collection;
    IF collection_id IS NULL THEN
        SELECT string_agg(n.name, ', ') INTO known
        FROM (SELECT c.name FROM collection c ORDER BY c.name LIMIT 20) n;
        RAISE EXCEPTION 'there is no collection "%"', wanted_collection
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('There are: ' || known || '.', 'Nothing was imported yet.');
    END IF;

    IF wanted_model IS NULL THEN
        SELECT m.id, m.name || '@' || m.version INTO model_id, model
        FROM model m WHERE m.status = 'promoted';
    ELSE
        SELECT m.id, m.name || '@' || m.version INTO model_id, model
        FROM model m
        WHERE m.twin_of IS NULL AND m.status IN ('candidate', 'promoted', 'superseded')
          AND (m.name = wanted_model OR m.name || '@' || m.version = wanted_model)
        ORDER BY m.version DESC LIMIT 1;
    END IF;
    IF model_id IS NULL THEN
        SELECT string_agg(m.name || '@' || m.version, ', ' ORDER BY m.name, m.version) INTO known
        FROM model m
        WHERE m.twin_of IS NULL AND m.status IN ('candidate', 'promoted', 'superseded');
        RAISE EXCEPTION 'there is no model %', coalesce('"' || wanted_model || '"', 'in use')
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('There are: ' || known || '.', 'Train or register one.');
    END IF;

    vectors := 'embedding_' || model_id || '_' || collection_id;
    IF to_regclass(vectors) IS NULL THEN
        RAISE EXCEPTION 'collection "%" has no vectors of model %', wanted_collection, model
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'An operator runs: aparella index ' || wanted_collection
                         || ' --model ' || model;
    END IF;

    -- depth stays NULL where there is no index, or none that was seen to reach the recall.
    IF NOT exact THEN
        SELECT min(i.ef_search) FILTER (WHERE i.recall >= place.recall AND i.ef_search >= place.k),
               count(*) > 0
        INTO depth, measured
        FROM index_recall i
        WHERE i.model_id = place.model_id AND i.collection_id = place.collection_id;
        -- An index of an earlier version, which did not measure.
        IF NOT measured AND recall < 1 AND EXISTS (
            SELECT FROM vector_index i
            WHERE i.model_id = place.model_id AND i.collection_id = place.collection_id
        ) THEN
            depth := CASE WHEN k <= 400 THEN 400 ELSE 1000 END;
        END IF;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION report_internal.check_score(min_score double precision) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF min_score IS NULL THEN
        RAISE EXCEPTION 'min_score must not be NULL'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Write min_score => 0.9, or leave it out.';
    ELSIF min_score NOT BETWEEN -1 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, which is not between -1 and 1', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Scores are cosines.';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION report_internal.check_text(text text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF text IS NULL THEN
        RAISE EXCEPTION 'text must not be NULL'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Leave rows without a text out.';
    ELSIF btrim(text) = '' OR length(text) > 10000 THEN
        RAISE EXCEPTION 'text has % characters, which is not between 1 and 10000',
            length(btrim(text))
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a short description.';
    END IF;
END
$$;
