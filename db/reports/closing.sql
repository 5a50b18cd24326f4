-- What psql and BI tools show of the functions; and nobody may execute them who was not granted it.
COMMENT ON SCHEMA report IS
    'Aparella''s contract for reports: views and functions that stay, whatever the tables become';
COMMENT ON FUNCTION report.similar IS
    'The k records nearest to one: report.similar(''catalogue'', ''11100039'', 5). target => another '
    'collection, attributes => ''{"family": "XERINGUES"}'', recall => 0.95 to 1, exact => true, '
    'model => ''NAME@VERSION''';
COMMENT ON FUNCTION report.similar_to_vector IS
    'The k records nearest to a vector, such as report.embedding_of(text)';
COMMENT ON FUNCTION report.search IS
    'The k records that fit a free text, by trigrams, words, and the vector where it is cached';
COMMENT ON FUNCTION report.request_embedding IS
    'Asks the workers for a text''s vector and returns at once: requested or ready';
COMMENT ON FUNCTION report.embedding_of IS
    'The vector of a text that was asked for, waiting for it up to wait => ''10 s''';
COMMENT ON FUNCTION report.nearest_pairs IS
    'Each record of source with its k nearest of target whose score is at least min_score';
COMMENT ON FUNCTION report.duplicates IS
    'Pairs of records of a collection whose score is at least min_score, each pair once';

-- PostgreSQL lets everybody execute a new function; these are for those who are granted them.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA report, report_internal FROM PUBLIC;

-- For the indexes that are there already.
SELECT report_internal.attach(i.model_id, i.collection_id)
FROM (SELECT DISTINCT model_id, collection_id FROM @schema@.index_recall) i;
