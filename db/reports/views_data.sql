-- What is there: collections, records, models. All views are live: they say what is so at the
-- moment of the query (or of its transaction's snapshot), and none can be stale.

CREATE OR REPLACE VIEW report.about AS
SELECT @version@ AS contract_version,
       (SELECT m.name || '@' || m.version FROM @schema@.model m WHERE m.status = 'promoted')
           AS model,
       (SELECT max(p.promoted_at) FROM @schema@.promotion p) AS promoted_at,
       now() AS as_of;
COMMENT ON VIEW report.about IS 'One row: which contract this is, and the model in use';
COMMENT ON COLUMN report.about.contract_version IS
    'Version of the schema report; docs/reports.md says what each one changed';
COMMENT ON COLUMN report.about.model IS 'NAME@VERSION of the promoted model';
COMMENT ON COLUMN report.about.promoted_at IS 'When it became so; NULL for the first one';
COMMENT ON COLUMN report.about.as_of IS 'The moment that all views of this transaction tell of';

CREATE OR REPLACE VIEW report.collections AS
SELECT c.name AS collection, r.records, r.removed, c.edition, c.created_at, c.updated_at,
       i.rows AS indexed_records, i.bytes AS index_bytes, i.built_at AS index_built_at
FROM @schema@.collection c
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.removed_at IS NULL) AS records,
           count(*) FILTER (WHERE r.removed_at IS NOT NULL) AS removed
    FROM @schema@.record r WHERE r.collection_id = c.id) r
LEFT JOIN @schema@.vector_index i ON i.collection_id = c.id
     AND i.model_id = (SELECT m.id FROM @schema@.model m WHERE m.status = 'promoted');
COMMENT ON VIEW report.collections IS 'The lists and catalogues';
COMMENT ON COLUMN report.collections.collection IS 'Its name';
COMMENT ON COLUMN report.collections.records IS 'Records that are in it now';
COMMENT ON COLUMN report.collections.removed IS 'Records that a later import no longer had';
COMMENT ON COLUMN report.collections.edition IS 'How many imports were applied';
COMMENT ON COLUMN report.collections.created_at IS 'When it was first imported';
COMMENT ON COLUMN report.collections.updated_at IS 'When an import last changed it';
COMMENT ON COLUMN report.collections.indexed_records IS
    'Records in the promoted model''s vector index when it was built; NULL if there is none';
COMMENT ON COLUMN report.collections.index_bytes IS 'Size of that index';
COMMENT ON COLUMN report.collections.index_built_at IS 'When it was built';

CREATE OR REPLACE VIEW report.records AS
SELECT c.name AS collection, r.key, r.text, coalesce(r.original, r.text) AS original,
       r.attributes, r.created_at, r.updated_at
FROM @schema@.record r JOIN @schema@.collection c ON c.id = r.collection_id
WHERE r.removed_at IS NULL;
COMMENT ON VIEW report.records IS 'The records that are in a collection now';
COMMENT ON COLUMN report.records.collection IS 'Name of the collection';
COMMENT ON COLUMN report.records.key IS 'What tells it apart in its collection';
COMMENT ON COLUMN report.records.text IS 'Its text, cleaned at import';
COMMENT ON COLUMN report.records.original IS 'The text as it was uploaded';
COMMENT ON COLUMN report.records.attributes IS
    'The other columns that were kept: attributes->>''family''';
COMMENT ON COLUMN report.records.created_at IS 'When it was first imported';
COMMENT ON COLUMN report.records.updated_at IS 'When an import last changed it';

CREATE OR REPLACE VIEW report.models AS
SELECT m.name || '@' || m.version AS model, m.name, m.version, m.status, m.base_model,
       b.name || '@' || b.version AS parent, m.created_at, m.created_by,
       (SELECT max(p.promoted_at) FROM @schema@.promotion p WHERE p.model_id = m.id)
           AS promoted_at,
       e.pairs, e.lines,
       (e.overall #>> '{acc_1,value}')::double precision AS acc_at_1,
       (e.overall #>> '{acc_5,value}')::double precision AS acc_at_5,
       (e.overall #>> '{hit_10,value}')::double precision AS hit_at_10,
       (e.overall #>> '{mrr_10,value}')::double precision AS mrr_at_10,
       (e.overall #>> '{ndcg_10,value}')::double precision AS ndcg_at_10,
       m.metrics
FROM @schema@.model m
LEFT JOIN @schema@.model b ON b.id = m.parent_id
LEFT JOIN LATERAL (
    SELECT s.name AS pairs, v.figures -> 'overall' AS overall,
           (v.figures #>> '{overall,queries}')::bigint AS lines
    FROM @schema@.evaluation v JOIN @schema@.pair_set s ON s.id = v.pair_set_id
    WHERE v.model_id = m.id ORDER BY v.id DESC LIMIT 1) e ON true
WHERE m.twin_of IS NULL;
COMMENT ON VIEW report.models IS 'The versions of the models, with the figures of their latest evaluation';
COMMENT ON COLUMN report.models.model IS 'NAME@VERSION, as the functions take it';
COMMENT ON COLUMN report.models.name IS 'Its name';
COMMENT ON COLUMN report.models.version IS 'Its version, from 1';
COMMENT ON COLUMN report.models.status IS
    'training, candidate, promoted (in use), superseded, retired or deleted';
COMMENT ON COLUMN report.models.base_model IS 'The published model that it comes from';
COMMENT ON COLUMN report.models.parent IS 'The version that its training began with';
COMMENT ON COLUMN report.models.created_at IS 'When it was registered';
COMMENT ON COLUMN report.models.created_by IS 'Who asked for it';
COMMENT ON COLUMN report.models.promoted_at IS 'When it last became the one in use; NULL if never';
COMMENT ON COLUMN report.models.pairs IS 'Pair set of its latest evaluation; NULL if there is none';
COMMENT ON COLUMN report.models.lines IS 'Lines that it was judged on';
COMMENT ON COLUMN report.models.acc_at_1 IS 'Share of lines whose first candidate is right';
COMMENT ON COLUMN report.models.acc_at_5 IS 'Share of lines with a right one among the first five';
COMMENT ON COLUMN report.models.hit_at_10 IS 'Share of lines with a right one among the first ten';
COMMENT ON COLUMN report.models.mrr_at_10 IS 'Mean reciprocal rank of the first right one';
COMMENT ON COLUMN report.models.ndcg_at_10 IS 'Normalised discounted cumulative gain';
COMMENT ON COLUMN report.models.metrics IS 'What the registry keeps besides';
