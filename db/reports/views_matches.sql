-- What was found, and what people decided about it.

-- Match jobs that ended well, with the ids of their collections, which a job's stage knows.
CREATE OR REPLACE VIEW report_internal.finished_match AS
SELECT j.id AS job_id, j.model_id, j.finished_at,
       (s.params ->> 'source_id')::bigint AS source_id,
       (s.params ->> 'collection_id')::bigint AS target_id
FROM @schema@.job j JOIN @schema@.stage s ON s.job_id = j.id AND s.handler = 'match'
WHERE j.kind = 'match' AND j.state IN ('succeeded', 'succeeded_with_errors');

-- What was last decided about each pair of records.
CREATE OR REPLACE VIEW report_internal.latest_decision AS
SELECT DISTINCT ON (d.source_id, d.target_id) d.source_id, d.target_id, d.verdict
FROM @schema@.decision d ORDER BY d.source_id, d.target_id, d.id DESC;

-- For each source record and target collection the promoted model's latest job that has matches of
-- it. A later job usually has: each record costs one look into the matches' primary key.
CREATE OR REPLACE VIEW report_internal.latest_match AS
SELECT r.id AS source_id, p.target_id AS target_collection_id, l.job_id, l.finished_at, l.model_id
FROM (SELECT DISTINCT f.source_id, f.target_id FROM report_internal.finished_match f
      WHERE f.model_id = (SELECT m.id FROM @schema@.model m WHERE m.status = 'promoted')) p
JOIN @schema@.record r ON r.collection_id = p.source_id AND r.removed_at IS NULL
CROSS JOIN LATERAL (
    SELECT f.job_id, f.finished_at, f.model_id FROM report_internal.finished_match f
    WHERE f.source_id = p.source_id AND f.target_id = p.target_id
      AND f.model_id = (SELECT m.id FROM @schema@.model m WHERE m.status = 'promoted')
      AND EXISTS (SELECT FROM @schema@.match x WHERE x.job_id = f.job_id AND x.source_id = r.id)
    ORDER BY f.job_id DESC LIMIT 1) l;

CREATE OR REPLACE VIEW report.matches AS
SELECT l.job_id AS job, m.name || '@' || m.version AS model, l.finished_at AS matched_at,
       sc.name AS source, s.key AS source_key, s.text AS source_text, x.rank,
       tc.name AS target, t.key AS target_key, t.text AS target_text,
       t.attributes AS target_attributes,
       round(x.score::numeric, 6)::double precision AS score,
       x.confidence::double precision AS confidence, d.verdict AS decision
FROM report_internal.latest_match l
JOIN @schema@.match x ON x.job_id = l.job_id AND x.source_id = l.source_id
JOIN @schema@.record s ON s.id = l.source_id
JOIN @schema@.collection sc ON sc.id = s.collection_id
JOIN @schema@.record t ON t.id = x.target_id
JOIN @schema@.collection tc ON tc.id = t.collection_id
JOIN @schema@.model m ON m.id = l.model_id
LEFT JOIN report_internal.latest_decision d
       ON d.source_id = x.source_id AND d.target_id = x.target_id;
COMMENT ON VIEW report.matches IS
    'Candidates of each record: of the promoted model''s latest finished job that has any';
COMMENT ON COLUMN report.matches.job IS 'Number of the job that found it';
COMMENT ON COLUMN report.matches.model IS 'NAME@VERSION of the model, which is the promoted one';
COMMENT ON COLUMN report.matches.matched_at IS 'When that job ended: the row is as of then';
COMMENT ON COLUMN report.matches.source IS 'Name of the collection that was matched';
COMMENT ON COLUMN report.matches.source_key IS 'Key of its record';
COMMENT ON COLUMN report.matches.source_text IS 'Text of its record, as it is now';
COMMENT ON COLUMN report.matches.rank IS '1 is the best candidate';
COMMENT ON COLUMN report.matches.target IS 'Name of the catalogue';
COMMENT ON COLUMN report.matches.target_key IS 'Key of the catalogue''s record';
COMMENT ON COLUMN report.matches.target_text IS 'Its text, as it is now';
COMMENT ON COLUMN report.matches.target_attributes IS 'Its other columns, such as the family';
COMMENT ON COLUMN report.matches.score IS 'Cosine similarity, -1 to 1';
COMMENT ON COLUMN report.matches.confidence IS
    'Calibrated probability that it is right; NULL where the model has no calibration';
COMMENT ON COLUMN report.matches.decision IS
    'What was last decided about the pair: accept or reject; NULL if nothing';

CREATE OR REPLACE VIEW report.job_matches AS
SELECT f.job_id AS job, m.name || '@' || m.version AS model, f.finished_at AS matched_at,
       sc.name AS source, s.key AS source_key, s.text AS source_text, x.rank,
       tc.name AS target, t.key AS target_key, t.text AS target_text,
       t.attributes AS target_attributes,
       round(x.score::numeric, 6)::double precision AS score,
       x.confidence::double precision AS confidence, d.verdict AS decision
FROM report_internal.finished_match f
JOIN @schema@.match x ON x.job_id = f.job_id
JOIN @schema@.record s ON s.id = x.source_id
JOIN @schema@.collection sc ON sc.id = s.collection_id
JOIN @schema@.record t ON t.id = x.target_id
JOIN @schema@.collection tc ON tc.id = t.collection_id
JOIN @schema@.model m ON m.id = f.model_id
LEFT JOIN report_internal.latest_decision d
       ON d.source_id = x.source_id AND d.target_id = x.target_id;
COMMENT ON VIEW report.job_matches IS
    'Candidates of every finished match job, of whatever model: always say WHERE job = …';
COMMENT ON COLUMN report.job_matches.job IS 'Number of the job';
COMMENT ON COLUMN report.job_matches.model IS 'NAME@VERSION of its model';
COMMENT ON COLUMN report.job_matches.matched_at IS 'When the job ended';
COMMENT ON COLUMN report.job_matches.source IS 'Name of the collection that was matched';
COMMENT ON COLUMN report.job_matches.source_key IS 'Key of its record';
COMMENT ON COLUMN report.job_matches.source_text IS 'Text of its record, as it is now';
COMMENT ON COLUMN report.job_matches.rank IS '1 is the best candidate';
COMMENT ON COLUMN report.job_matches.target IS 'Name of the catalogue';
COMMENT ON COLUMN report.job_matches.target_key IS 'Key of the catalogue''s record';
COMMENT ON COLUMN report.job_matches.target_text IS 'Its text, as it is now';
COMMENT ON COLUMN report.job_matches.target_attributes IS 'Its other columns, such as the family';
COMMENT ON COLUMN report.job_matches.score IS 'Cosine similarity, -1 to 1';
COMMENT ON COLUMN report.job_matches.confidence IS
    'Calibrated probability that it is right; NULL where the model has no calibration';
COMMENT ON COLUMN report.job_matches.decision IS
    'What was last decided about the pair: accept or reject; NULL if nothing';

CREATE OR REPLACE VIEW report.decisions AS
SELECT d.id AS decision, sc.name AS source, s.key AS source_key, s.text AS source_text,
       tc.name AS target, t.key AS target_key, t.text AS target_text,
       d.verdict, d.decided_by, d.decided_at, d.note, d.job_id AS job,
       m.name || '@' || m.version AS model, x.rank,
       round(x.score::numeric, 6)::double precision AS score,
       NOT EXISTS (SELECT FROM @schema@.decision n WHERE n.source_id = d.source_id
                   AND n.target_id = d.target_id AND n.id > d.id) AS in_force
FROM @schema@.decision d
JOIN @schema@.record s ON s.id = d.source_id
JOIN @schema@.collection sc ON sc.id = s.collection_id
JOIN @schema@.record t ON t.id = d.target_id
JOIN @schema@.collection tc ON tc.id = t.collection_id
LEFT JOIN @schema@.job j ON j.id = d.job_id
LEFT JOIN @schema@.model m ON m.id = j.model_id
LEFT JOIN @schema@.match x
       ON x.job_id = d.job_id AND x.source_id = d.source_id AND x.target_id = d.target_id;
COMMENT ON VIEW report.decisions IS 'What people decided about candidates, each time they did';
COMMENT ON COLUMN report.decisions.decision IS 'Its number, in the order of time';
COMMENT ON COLUMN report.decisions.source IS 'Name of the collection that was matched';
COMMENT ON COLUMN report.decisions.source_key IS 'Key of its record';
COMMENT ON COLUMN report.decisions.source_text IS 'Text of its record';
COMMENT ON COLUMN report.decisions.target IS 'Name of the catalogue';
COMMENT ON COLUMN report.decisions.target_key IS 'Key of the catalogue''s record';
COMMENT ON COLUMN report.decisions.target_text IS 'Its text';
COMMENT ON COLUMN report.decisions.verdict IS 'accept or reject';
COMMENT ON COLUMN report.decisions.decided_by IS 'Who decided';
COMMENT ON COLUMN report.decisions.decided_at IS 'When';
COMMENT ON COLUMN report.decisions.note IS 'What they wrote to it';
COMMENT ON COLUMN report.decisions.job IS 'The match job that was looked at; NULL if none';
COMMENT ON COLUMN report.decisions.model IS 'NAME@VERSION of that job''s model';
COMMENT ON COLUMN report.decisions.rank IS 'Rank of the candidate in that job; NULL if it was none';
COMMENT ON COLUMN report.decisions.score IS 'Its score in that job';
COMMENT ON COLUMN report.decisions.in_force IS 'Whether no later decision about the pair was made';

CREATE OR REPLACE VIEW report.unmatched AS
SELECT sc.name AS source, r.key AS source_key, r.text AS source_text, tc.name AS target,
       CASE WHEN b.candidates IS NULL OR b.candidates = 0 THEN 'no candidates'
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
WHERE NOT EXISTS (
    SELECT FROM report_internal.latest_decision d JOIN @schema@.record t ON t.id = d.target_id
    WHERE d.source_id = r.id AND d.verdict = 'accept' AND t.collection_id = p.target_id);
COMMENT ON VIEW report.unmatched IS
    'Records that were matched with a catalogue and have no accepted counterpart in it';
COMMENT ON COLUMN report.unmatched.source IS 'Name of the collection that was matched';
COMMENT ON COLUMN report.unmatched.source_key IS 'Key of its record';
COMMENT ON COLUMN report.unmatched.source_text IS 'Text of its record';
COMMENT ON COLUMN report.unmatched.target IS 'Name of the catalogue';
COMMENT ON COLUMN report.unmatched.reason IS 'no candidates, undecided or all rejected';
COMMENT ON COLUMN report.unmatched.candidates IS 'Candidates of the latest job';
COMMENT ON COLUMN report.unmatched.rejected IS 'Of these, rejected';
COMMENT ON COLUMN report.unmatched.best_key IS 'Key of the best candidate that is not decided about';
COMMENT ON COLUMN report.unmatched.best_score IS 'Its score';
COMMENT ON COLUMN report.unmatched.job IS 'Number of that job; NULL where no job has any of it';

CREATE OR REPLACE VIEW report.match_quality AS
SELECT m.name || '@' || m.version AS model, m.status, s.name AS pairs,
       coalesce(q.category, 'none') AS category, count(*) AS lines,
       avg(coalesce(q.ranks[1] = 1, false)::integer)::double precision AS acc_at_1,
       avg(coalesce(q.ranks[1] <= 5, false)::integer)::double precision AS acc_at_5,
       avg(coalesce(q.ranks[1] <= 10, false)::integer)::double precision AS hit_at_10,
       avg(CASE WHEN q.ranks[1] <= 10 THEN 1.0 / q.ranks[1] ELSE 0 END)::double precision
           AS mrr_at_10,
       e.method, e.created_at AS as_of
FROM @schema@.evaluation e
JOIN @schema@.model m ON m.id = e.model_id AND m.twin_of IS NULL
JOIN @schema@.pair_set s ON s.id = e.pair_set_id
JOIN @schema@.evaluation_query q ON q.evaluation_id = e.id
WHERE e.id = (SELECT max(n.id) FROM @schema@.evaluation n
              WHERE n.model_id = e.model_id AND n.pair_set_id = e.pair_set_id)
GROUP BY e.id, m.id, s.id, q.category;
COMMENT ON VIEW report.match_quality IS
    'How each model does by category of the catalogue, by its latest evaluation on each pair set';
COMMENT ON COLUMN report.match_quality.model IS 'NAME@VERSION';
COMMENT ON COLUMN report.match_quality.status IS 'promoted for the model in use';
COMMENT ON COLUMN report.match_quality.pairs IS 'Pair set that it was judged by';
COMMENT ON COLUMN report.match_quality.category IS
    'Value of the attribute that the evaluation was broken down by; none where there is none';
COMMENT ON COLUMN report.match_quality.lines IS 'Lines of this category: with few, mind the chance';
COMMENT ON COLUMN report.match_quality.acc_at_1 IS 'Share of lines whose first candidate is right';
COMMENT ON COLUMN report.match_quality.acc_at_5 IS 'Share with a right one among the first five';
COMMENT ON COLUMN report.match_quality.hit_at_10 IS 'Share with a right one among the first ten';
COMMENT ON COLUMN report.match_quality.mrr_at_10 IS 'Mean reciprocal rank of the first right one';
COMMENT ON COLUMN report.match_quality.method IS
    'holdout or cross_validation: never on pairs that were trained on';
COMMENT ON COLUMN report.match_quality.as_of IS 'When the evaluation was made';
