-- A free text in pure SQL, and its embedding, which only the workers can make.

-- A cached embedding of a text by a model. The text is known by the SHA-256 of what was given.
CREATE OR REPLACE FUNCTION report_internal.cached(model_id bigint, text text) RETURNS vector
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    found vector;
BEGIN
    SELECT t.embedding INTO found FROM text_embedding t
    WHERE t.model_id = cached.model_id AND t.text_hash = sha256(convert_to(cached.text, 'UTF8'));
    RETURN found;
END
$$;

-- Rows whose text has the given share of the query's trigrams in a row, at most so many. One function
-- for each share, as for the depths of nearest vectors. Each row takes a tenth of a millisecond, so
-- the caller begins with a large share, which few rows have, or which any rows that have it are best.
DO $do$
DECLARE
    percent integer;
BEGIN
    FOREACH percent IN ARRAY ARRAY[100, 75, 50] LOOP
        EXECUTE replace(replace($create$

CREATE OR REPLACE FUNCTION report_internal.alike_@percent@(
    collection_id bigint, plain text, filter jsonb, most integer
) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET pg_trgm.word_similarity_threshold = @share@
SET enable_seqscan = off
AS $body$
BEGIN
    RETURN (SELECT array_agg(f.id) FROM (
        SELECT r.id FROM record r
        WHERE report_internal.plain(r.text) %> plain
          AND r.collection_id = $1 AND r.removed_at IS NULL
          AND (filter IS NULL OR r.attributes @> filter)
        LIMIT most) f);
END
$body$

        $create$, '@share@', round(percent / 100.0, 2)::text), '@percent@', percent::text);
    END LOOP;
END
$do$;

-- A query for each word of a text, the word that tells most first: the rarest, by what ANALYZE saw.
CREATE OR REPLACE FUNCTION report_internal.telling(plain text) RETURNS tsquery[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN ARRAY(
        SELECT ('''' || replace(replace(w.word, '\', '\\'), '''', '''''') || '''')::tsquery
        FROM unnest(tsvector_to_array(to_tsvector('simple', plain))) w(word)
        LEFT JOIN (
            SELECT e.word, e.share
            FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
            JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = 'ix_record_text_words',
                 unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) e(word, share)
            WHERE t.oid = '@schema@.record'::regclass) c USING (word)
        ORDER BY coalesce(c.share, 0), length(w.word) DESC, w.word);
END
$$;

-- Three lists of candidates at most: by trigrams, by words, and by the vector where it is cached.
-- They are fused by their places (reciprocal rank fusion): their scores cannot be compared.
CREATE OR REPLACE FUNCTION report.search(
    collection text,
    text text,
    k integer DEFAULT 10,
    attributes jsonb DEFAULT NULL,
    recall double precision DEFAULT 0.99,
    exact boolean DEFAULT false,
    model text DEFAULT NULL
)
RETURNS SETOF report.finding
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10 COST 10000
SET search_path = @search_path@
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    place record;
    plain text;
    word tsquery;
    any_word tsquery;
    query vector;
    by_vector report.neighbour[];
    with_words bigint[];
    left_over integer;
    alike bigint[];
    complete boolean;
    -- Places in a list that count, and rows that are compared for them: each row takes a tenth of a
    -- millisecond.
    wide integer;
    few CONSTANT integer := 500;
    many CONSTANT integer := 1000;
BEGIN
    PERFORM report_internal.check_text(text);
    place := report_internal.place(collection, model, recall, k, exact);
    plain := report_internal.plain(text);
    query := report_internal.cached(place.model_id, text);
    wide := greatest(k, 50);
    IF query IS NOT NULL THEN
        by_vector := report_internal.neighbours(
            place.collection_id, place.model, place.vectors, place.depth,
            query, wide, -1, attributes);
    END IF;

    -- Those with all words, and then those with any, the word that tells most first: a buyer's line
    -- rarely has all its words as the catalogue has, and half of the catalogue may have one of them.
    with_words := ARRAY(
        SELECT r.id FROM record r
        WHERE to_tsvector('simple', report_internal.plain(r.text))
                  @@ plainto_tsquery('simple', plain)
          AND r.collection_id = place.collection_id AND r.removed_at IS NULL
          AND (search.attributes IS NULL OR r.attributes @> search.attributes)
        LIMIT few);
    complete := cardinality(with_words) < few;
    FOREACH word IN ARRAY report_internal.telling(plain) LOOP
        any_word := coalesce(any_word || word, word);
        -- Beyond those of all words, so many in all: the ranking takes them all into account.
        left_over := many + few - cardinality(with_words);
        IF left_over > 0 THEN
            with_words := with_words || ARRAY(
                SELECT r.id FROM record r
                WHERE to_tsvector('simple', report_internal.plain(r.text)) @@ word
                  AND r.collection_id = place.collection_id AND r.removed_at IS NULL
                  AND (search.attributes IS NULL OR r.attributes @> search.attributes)
                LIMIT left_over);
        END IF;
        complete := complete AND cardinality(with_words) < many + few;
    END LOOP;

    -- A short text against a long one: half of its trigrams in a row are a hit. That share, which
    -- very many rows have, is for texts that words do not find: misspelt ones, and parts of words.
    alike := report_internal.alike_100(place.collection_id, plain, attributes, wide);
    IF alike IS NULL OR cardinality(alike) < wide THEN
        alike := report_internal.alike_75(place.collection_id, plain, attributes, few);
        IF (alike IS NULL OR cardinality(alike) < k) AND cardinality(with_words) < k THEN
            alike := report_internal.alike_50(place.collection_id, plain, attributes, few);
        END IF;
        complete := complete AND (alike IS NULL OR cardinality(alike) < few);
    END IF;

    RETURN QUERY
        WITH ranked AS MATERIALIZED (
            SELECT w.id, w.similarity, row_number() OVER (ORDER BY w.similarity DESC, w.id) AS n
            FROM (
                SELECT r.id,
                       ts_rank(to_tsvector('simple', report_internal.plain(r.text)), any_word, 1)
                           AS similarity
                FROM record r WHERE r.id = ANY (with_words)
                ORDER BY 2 DESC, 1 LIMIT 4 * wide) w
        ), by_words AS (
            SELECT w.* FROM ranked w WHERE w.n <= wide
        ), by_trigrams AS (
            SELECT t.id, t.similarity, row_number() OVER (ORDER BY t.similarity DESC, t.id) AS n
            FROM (
                SELECT r.id, word_similarity(plain, report_internal.plain(r.text)) AS similarity
                FROM record r
                WHERE r.id = ANY (alike || ARRAY(SELECT w.id FROM ranked w))
                ORDER BY 2 DESC, 1 LIMIT wide) t
            WHERE t.similarity >= 0.5
        ), by_vectors AS (
            SELECT r.id, v.score, v.exact, row_number() OVER (ORDER BY v.score DESC, r.id) AS n
            FROM unnest(by_vector) v
            JOIN record r ON r.collection_id = place.collection_id AND r.key = v.key
        ), fused AS (
            SELECT l.id,
                   sum(1.0 / (60 + l.n)) * 61 / (CASE WHEN query IS NULL THEN 2 ELSE 3 END)
                       AS score,
                   array_agg(l.list ORDER BY l.list) AS lists,
                   max(l.value) FILTER (WHERE l.list = 'trigrams') AS trigrams,
                   max(l.value) FILTER (WHERE l.list = 'words') AS words,
                   max(l.value) FILTER (WHERE l.list = 'vectors') AS cosine
            FROM (SELECT id, n, 'trigrams' AS list, similarity::double precision AS value
                  FROM by_trigrams
                  UNION ALL SELECT id, n, 'words', similarity FROM by_words
                  UNION ALL SELECT id, n, 'vectors', score FROM by_vectors) l
            GROUP BY l.id
        )
        SELECT (row_number() OVER (ORDER BY f.score DESC, f.id))::integer, r.key, r.text,
               round(f.score, 6)::double precision, f.lists,
               round(f.trigrams::numeric, 6)::double precision,
               round(f.words::numeric, 6)::double precision,
               f.cosine, r.attributes,
               complete AND coalesce((SELECT bool_and(v.exact) FROM by_vectors v), true),
               CASE WHEN query IS NOT NULL THEN place.model END
        FROM fused f JOIN record r ON r.id = f.id
        ORDER BY f.score DESC, f.id LIMIT k;
END
$$;

-- Asks the workers for a text's embedding: the row is the outbox, the notification only wakes the
-- reconciler. It may be called again at any time; a text that failed is tried anew.
CREATE OR REPLACE FUNCTION report.request_embedding(text text, model text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = @search_path@
AS $$
#variable_conflict use_column
DECLARE
    asked_model bigint;
    state text;
BEGIN
    PERFORM report_internal.check_text(text);
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'request_embedding writes a request, and this transaction is read-only'
            USING ERRCODE = 'read_only_sql_transaction',
                  HINT = 'Write SET TRANSACTION READ WRITE before it, or ask from a session that '
                         'is not read-only.';
    END IF;
    asked_model := report_internal.model_for_text(request_embedding.model);
    IF (SELECT count(*) FROM (SELECT FROM text_embedding t WHERE t.answered_at IS NULL
                              LIMIT 10000) waiting) >= 10000 THEN
        RAISE EXCEPTION '10,000 texts wait for their embeddings already'
            USING ERRCODE = 'configuration_limit_exceeded',
                  HINT = 'Many texts are an import: aparella import NAME FILE.';
    END IF;
    INSERT INTO text_embedding AS t (model_id, text_hash, text)
    VALUES (asked_model, sha256(convert_to(request_embedding.text, 'UTF8')), request_embedding.text)
    ON CONFLICT (model_id, text_hash) DO UPDATE
        SET error = NULL, answered_at = NULL, requested_at = now(), job_id = NULL
        WHERE t.error IS NOT NULL
    RETURNING 'requested' INTO state;
    IF state IS NOT NULL THEN
        PERFORM pg_notify('aparella_work', '');
        RETURN state;
    END IF;
    RETURN (SELECT CASE WHEN t.answered_at IS NULL THEN 'requested' ELSE 'ready' END
            FROM text_embedding t
            WHERE t.model_id = asked_model
              AND t.text_hash = sha256(convert_to(request_embedding.text, 'UTF8')));
END
$$;

-- VOLATILE, so that each look sees what was committed meanwhile.
CREATE OR REPLACE FUNCTION report.embedding_of(
    text text, wait interval DEFAULT '0 s', model text DEFAULT NULL
)
RETURNS vector
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = @search_path@
AS $$
#variable_conflict use_column
DECLARE
    asked_model bigint;
    answer record;
    deadline timestamptz := clock_timestamp() + wait;
    nap double precision := 0.02;
BEGIN
    PERFORM report_internal.check_text(text);
    IF wait IS NULL OR wait NOT BETWEEN '0 s' AND '10 min' THEN
        RAISE EXCEPTION 'wait is %, which is not between 0 s and 10 min', coalesce(wait::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write wait => ''10 s''.';
    END IF;
    asked_model := report_internal.model_for_text(embedding_of.model);
    LOOP
        SELECT t.embedding, t.error, t.answered_at INTO answer FROM text_embedding t
        WHERE t.model_id = asked_model
          AND t.text_hash = sha256(convert_to(embedding_of.text, 'UTF8'));
        IF answer.embedding IS NOT NULL THEN
            RETURN answer.embedding;
        ELSIF answer.error IS NOT NULL THEN
            RAISE EXCEPTION 'the text cannot be encoded: %', answer.error
                USING ERRCODE = 'data_exception', HINT = 'Give another text.';
        ELSIF NOT FOUND AND wait = '0 s' THEN
            RAISE EXCEPTION 'the text''s embedding was not asked for'
                USING ERRCODE = 'no_data_found',
                      HINT = 'Ask in a statement of its own: SELECT report.request_embedding(text);';
        ELSIF clock_timestamp() >= deadline THEN
            RAISE EXCEPTION 'the text''s embedding is not there after %', wait
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Ask in a committed statement of its own, SELECT '
                             'report.request_embedding(text), see that a worker runs, and wait '
                             'longer. A REPEATABLE READ transaction never sees the answer.';
        END IF;
        PERFORM pg_sleep(nap);
        nap := least(nap * 1.5, 0.25);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION report_internal.model_for_text(wanted text) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    found bigint;
BEGIN
    SELECT m.id INTO found FROM model m
    WHERE m.twin_of IS NULL AND m.status IN ('candidate', 'promoted', 'superseded')
      AND CASE WHEN wanted IS NULL THEN m.status = 'promoted'
               ELSE wanted IN (m.name, m.name || '@' || m.version) END
    ORDER BY m.version DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no model %', coalesce('"' || wanted || '"', 'in use')
            USING ERRCODE = 'undefined_object', HINT = 'report.models lists them.';
    END IF;
    RETURN found;
END
$$;
