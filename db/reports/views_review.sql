-- Decisions that can be undone, and "none of the catalogue": revision 0007 puts these in the place
-- of those of views_matches.sql, which stay there for a database that goes back.

-- What was last decided about each pair of records, and not taken back.
CREATE OR REPLACE VIEW report_internal.latest_decision AS
SELECT DISTINCT ON (d.source_id, d.target_id) d.source_id, d.target_id, d.verdict
FROM @schema@.decision d
WHERE d.verdict IN ('accept', 'reject')
  AND NOT EXISTS (SELECT FROM @schema@.decision u WHERE u.undoes_id = d.id)
ORDER BY d.source_id, d.target_id, d.id DESC;

CREATE OR REPLACE VIEW report.decisions AS
SELECT d.id AS decision, sc.name AS source, s.key AS source_key, s.text AS source_text,
       tc.name AS target, t.key AS target_key, t.text AS target_text,
       d.verdict, d.decided_by, d.decided_at, d.note, d.job_id AS job,
       m.name || '@' || m.version AS model, x.rank,
       round(x.score::numeric, 6)::double precision AS score,
       d.verdict <> 'undo'
         AND NOT EXISTS (SELECT FROM @schema@.decision u WHERE u.undoes_id = d.id)
         AND NOT EXISTS (SELECT FROM @schema@.decision n
                         WHERE n.source_id = d.source_id AND n.catalogue_id = d.catalogue_id
                           AND n.target_id IS NOT DISTINCT FROM d.target_id AND n.id > d.id
                           AND n.verdict <> 'undo'
                           AND NOT EXISTS (SELECT FROM @schema@.decision u
                                           WHERE u.undoes_id = n.id)) AS in_force,
       d.undoes_id AS undoes,
       s.text_hash = d.source_hash AND s.removed_at IS NULL
         AND (d.target_id IS NULL OR t.text_hash = d.target_hash AND t.removed_at IS NULL)
         AS texts_unchanged
FROM @schema@.decision d
JOIN @schema@.record s ON s.id = d.source_id
JOIN @schema@.collection sc ON sc.id = s.collection_id
JOIN @schema@.collection tc ON tc.id = d.catalogue_id
LEFT JOIN @schema@.record t ON t.id = d.target_id
LEFT JOIN @schema@.job j ON j.id = d.job_id
LEFT JOIN @schema@.model m ON m.id = j.model_id
LEFT JOIN @schema@.match x
       ON x.job_id = d.job_id AND x.source_id = d.source_id AND x.target_id = d.target_id;
COMMENT ON COLUMN report.decisions.target_key IS
    'Key of the catalogue''s record; NULL where none of the catalogue is the counterpart';
COMMENT ON COLUMN report.decisions.target_text IS 'Its text; NULL where there is none';
COMMENT ON COLUMN report.decisions.verdict IS
    'accept, reject, none (the catalogue has no counterpart), or undo of an earlier decision';
COMMENT ON COLUMN report.decisions.in_force IS
    'Whether no later decision about the same was made and it was not undone';
COMMENT ON COLUMN report.decisions.undoes IS 'Number of the decision that an undo takes back';
COMMENT ON COLUMN report.decisions.texts_unchanged IS
    'Whether both records still have the texts that were decided about';

CREATE OR REPLACE VIEW report.unmatched AS
SELECT sc.name AS source, r.key AS source_key, r.text AS source_text, tc.name AS target,
       CASE WHEN v.none THEN 'none in the catalogue'
            WHEN b.candidates IS NULL OR b.candidates = 0 THEN 'no candidates'
            WHEN b.rejected = b.candidates THEN 'all rejected'
            ELSE 'undecided' END AS reason,
       coalesce(b.candidates, 0) AS candidates, coalesce(b.rejected, 0) AS rejected,
       b.best_key, b.best_score, l.job_id AS job
FROM (SELECT DISTINCT f.source_id, f.target_id FROM report_internal.finished_match f
      WHERE f.model_id = (SELECT m.id FROM @schema@.model m WHERE m.status = 'promoted')) p
JOIN @schema@.collection sc ON sc.id = p.source_id
JOIN @schema@.collection tc ON tc.id = p.target_id
JOIN @schema@.record r ON r.collection_id = p.source_id AND r.removed_at IS NULL
LEFT JOIN report_internal.latest_match l
       ON l.source_id = r.id AND l.target_collection_id = p.target_id
LEFT JOIN LATERAL (
    SELECT count(*) AS candidates, count(*) FILTER (WHERE d.verdict = 'reject') AS rejected,
           (array_agg(t.key ORDER BY x.rank) FILTER (WHERE d.verdict IS NULL))[1] AS best_key,
           round((array_agg(x.score ORDER BY x.rank) FILTER (WHERE d.verdict IS NULL))[1]::numeric,
                 6)::double precision AS best_score
    FROM @schema@.match x JOIN @schema@.record t ON t.id = x.target_id
    LEFT JOIN report_internal.latest_decision d
           ON d.source_id = x.source_id AND d.target_id = x.target_id
    WHERE x.job_id = l.job_id AND x.source_id = r.id) b ON true
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM @schema@.decision d
        WHERE d.source_id = r.id AND d.catalogue_id = p.target_id AND d.verdict = 'none'
          AND d.source_hash = r.text_hash
          AND NOT EXISTS (SELECT FROM @schema@.decision u WHERE u.undoes_id = d.id)) AS none) v
WHERE NOT EXISTS (
    SELECT FROM report_internal.latest_decision d JOIN @schema@.record t ON t.id = d.target_id
    WHERE d.source_id = r.id AND d.verdict = 'accept' AND t.collection_id = p.target_id);
COMMENT ON COLUMN report.unmatched.reason IS
    'none in the catalogue (somebody said so), no candidates, all rejected or undecided';
