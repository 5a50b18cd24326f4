-- The rows that the functions return. Their fields have names that arguments may have as well,
-- which the columns of RETURNS TABLE could not.
CREATE TYPE report.neighbour AS (
    rank integer, key text, text text, score double precision, attributes jsonb,
    exact boolean, model text
);
COMMENT ON TYPE report.neighbour IS 'A record that is near to what was asked for';
COMMENT ON COLUMN report.neighbour.rank IS '1 is the nearest';
COMMENT ON COLUMN report.neighbour.key IS 'Key of the record in its collection';
COMMENT ON COLUMN report.neighbour.text IS 'Its text, as cleaned at import';
COMMENT ON COLUMN report.neighbour.score IS 'Cosine similarity of the float32 vectors, -1 to 1';
COMMENT ON COLUMN report.neighbour.attributes IS 'Its other columns, as imported';
COMMENT ON COLUMN report.neighbour.exact IS
    'Whether every record was compared, so that nothing can be missing; the scores always are exact';
COMMENT ON COLUMN report.neighbour.model IS 'NAME@VERSION of the model that made the vectors';

CREATE TYPE report.finding AS (
    rank integer, key text, text text, score double precision, found_by text[],
    trigrams double precision, words double precision, cosine double precision,
    attributes jsonb, exact boolean, model text
);
COMMENT ON TYPE report.finding IS 'A record that fits a free text';
COMMENT ON COLUMN report.finding.rank IS '1 fits best';
COMMENT ON COLUMN report.finding.key IS 'Key of the record in its collection';
COMMENT ON COLUMN report.finding.text IS 'Its text, as cleaned at import';
COMMENT ON COLUMN report.finding.score IS
    '0 to 1, fused from its places in the lists that found it; comparable within one answer only';
COMMENT ON COLUMN report.finding.found_by IS 'Which lists it is in: trigrams, words, vectors';
COMMENT ON COLUMN report.finding.trigrams IS
    'Word similarity of pg_trgm, 0 to 1; NULL if not found by trigrams';
COMMENT ON COLUMN report.finding.words IS 'Rank of the full-text search; NULL if not found by words';
COMMENT ON COLUMN report.finding.cosine IS
    'Cosine similarity; NULL if not found by vectors, or the text''s embedding is not there yet';
COMMENT ON COLUMN report.finding.attributes IS 'Its other columns, as imported';
COMMENT ON COLUMN report.finding.exact IS
    'Whether every list is complete up to its end: no approximate index had a part in it';
COMMENT ON COLUMN report.finding.model IS
    'NAME@VERSION of the model whose vectors were used; NULL if the embedding is not there yet';

CREATE TYPE report.pair AS (
    source_key text, source_text text, rank integer, target_key text, target_text text,
    score double precision, exact boolean, model text
);
COMMENT ON TYPE report.pair IS 'A record of one collection and a near one of another';
COMMENT ON COLUMN report.pair.source_key IS 'Key in the source collection';
COMMENT ON COLUMN report.pair.source_text IS 'Text of the source record';
COMMENT ON COLUMN report.pair.rank IS '1 is the nearest of this source record';
COMMENT ON COLUMN report.pair.target_key IS 'Key in the target collection';
COMMENT ON COLUMN report.pair.target_text IS 'Text of the target record';
COMMENT ON COLUMN report.pair.score IS 'Cosine similarity of the float32 vectors, -1 to 1';
COMMENT ON COLUMN report.pair.exact IS 'Whether every record was compared';
COMMENT ON COLUMN report.pair.model IS 'NAME@VERSION of the model that made the vectors';

CREATE TYPE report.duplicate AS (
    key text, text text, other_key text, other_text text, score double precision,
    exact boolean, model text
);
COMMENT ON TYPE report.duplicate IS 'Two records of a collection that are nearly the same';
COMMENT ON COLUMN report.duplicate.key IS 'Key of the one that was imported first';
COMMENT ON COLUMN report.duplicate.text IS 'Its text';
COMMENT ON COLUMN report.duplicate.other_key IS 'Key of the other';
COMMENT ON COLUMN report.duplicate.other_text IS 'Text of the other';
COMMENT ON COLUMN report.duplicate.score IS 'Cosine similarity of the float32 vectors, -1 to 1';
COMMENT ON COLUMN report.duplicate.exact IS 'Whether every record was compared';
COMMENT ON COLUMN report.duplicate.model IS 'NAME@VERSION of the model that made the vectors';
