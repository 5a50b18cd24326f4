-- What was done: jobs, their errors, and the work of each day.

CREATE OR REPLACE VIEW report.jobs AS
SELECT j.id AS job, j.kind, j.state,
       coalesce(j.params ->> 'source', j.summary ->> 'file') AS source,
       coalesce(j.params ->> 'target', j.params ->> 'collection') AS target,
       m.name || '@' || m.version AS model,
       j.created_at, j.started_at, j.finished_at,
       coalesce(j.finished_at, now()) - j.started_at AS duration,
       s.stage, w.detail,
       coalesce(w.items, 0) AS items, coalesce(w.done, 0) AS done, coalesce(w.failed, 0) AS failed,
       CASE WHEN j.state IN ('succeeded', 'succeeded_with_errors') THEN 100
            WHEN w.items > 0 THEN floor(100.0 * (w.done + w.failed) / w.items)::integer
       END AS progress,
       coalesce(w.seconds, 0) AS worker_seconds,
       (SELECT count(*) FROM @schema@.job_error e WHERE e.job_id = j.id) AS errors,
       j.error, j.summary, now() AS as_of
FROM @schema@.job j
LEFT JOIN @schema@.model m ON m.id = j.model_id
LEFT JOIN LATERAL (
    SELECT string_agg(s.name, ', ' ORDER BY s.position) AS stage
    FROM @schema@.stage s WHERE s.job_id = j.id AND s.state = 'running') s ON true
LEFT JOIN LATERAL (
    SELECT sum(c.size) FILTER (WHERE c.state <> 'split') AS items,
           sum(CASE c.state WHEN 'done' THEN c.size - c.failed ELSE c.progress_done END)
               FILTER (WHERE c.state IN ('done', 'ready', 'leased')) AS done,
           coalesce(sum(c.failed) FILTER (WHERE c.state = 'done'), 0)
             + coalesce(sum(c.size) FILTER (WHERE c.state = 'dead'), 0) AS failed,
           round(sum(extract(epoch FROM coalesce(c.finished_at, now()) - c.started_at))
               FILTER (WHERE c.started_at IS NOT NULL AND c.state IN ('done', 'dead', 'leased')),
               3)::double precision AS seconds,
           (array_agg(c.detail) FILTER (WHERE c.detail IS NOT NULL AND c.state = 'leased'))[1]
               AS detail
    FROM @schema@.chunk c WHERE c.job_id = j.id) w ON true;
COMMENT ON VIEW report.jobs IS 'Every job, with its progress';
COMMENT ON COLUMN report.jobs.job IS 'Its number';
COMMENT ON COLUMN report.jobs.kind IS 'import, match, embed, index, train, …';
COMMENT ON COLUMN report.jobs.state IS
    'queued, running, cancelling, succeeded, succeeded_with_errors, failed or cancelled';
COMMENT ON COLUMN report.jobs.source IS 'Collection that is matched, or file that was imported';
COMMENT ON COLUMN report.jobs.target IS 'Collection that it is matched with, or worked on';
COMMENT ON COLUMN report.jobs.model IS 'NAME@VERSION of its model; NULL where it has none';
COMMENT ON COLUMN report.jobs.created_at IS 'When it was asked for';
COMMENT ON COLUMN report.jobs.started_at IS 'When a worker first took it up';
COMMENT ON COLUMN report.jobs.finished_at IS 'When it ended; NULL while it runs';
COMMENT ON COLUMN report.jobs.duration IS 'From its start to its end, or until now';
COMMENT ON COLUMN report.jobs.stage IS 'The step that runs now';
COMMENT ON COLUMN report.jobs.detail IS
    'What the running step says about itself, such as the phase of an index build';
COMMENT ON COLUMN report.jobs.items IS 'Records or rows known to be done by now, over all steps';
COMMENT ON COLUMN report.jobs.done IS 'Of these, done';
COMMENT ON COLUMN report.jobs.failed IS 'Of these, given up';
COMMENT ON COLUMN report.jobs.progress IS 'Percent of the items that are done or given up';
COMMENT ON COLUMN report.jobs.worker_seconds IS
    'Seconds that worker processes spent on it, the last attempt at each part: what it cost';
COMMENT ON COLUMN report.jobs.errors IS 'Rows in report.errors';
COMMENT ON COLUMN report.jobs.error IS 'Why it failed as a whole; NULL if it did not';
COMMENT ON COLUMN report.jobs.summary IS 'What it says about itself: counts, the search''s recall';
COMMENT ON COLUMN report.jobs.as_of IS 'The moment that this row tells of';

CREATE OR REPLACE VIEW report.errors AS
SELECT e.job_id AS job, j.kind, s.name AS stage,
       coalesce(j.params ->> 'source', j.params ->> 'collection') AS collection,
       coalesce(e.key, r.key) AS key, e.row, e.field, e.code, e.message, e.created_at
FROM @schema@.job_error e
JOIN @schema@.job j ON j.id = e.job_id
LEFT JOIN @schema@.stage s ON s.id = e.stage_id
LEFT JOIN @schema@.record r ON r.id = e.record_id;
COMMENT ON VIEW report.errors IS 'What jobs could not do, row by row';
COMMENT ON COLUMN report.errors.job IS 'Number of the job';
COMMENT ON COLUMN report.errors.kind IS 'Kind of the job';
COMMENT ON COLUMN report.errors.stage IS 'Step in which it happened';
COMMENT ON COLUMN report.errors.collection IS 'Collection that the job worked on';
COMMENT ON COLUMN report.errors.key IS 'Key of the record; NULL where the row had none';
COMMENT ON COLUMN report.errors.row IS 'Line of the file, for an import';
COMMENT ON COLUMN report.errors.field IS 'Column of the file, for an import';
COMMENT ON COLUMN report.errors.code IS 'What kind of error it is; stays the same over versions';
COMMENT ON COLUMN report.errors.message IS 'What is wrong, in a sentence';
COMMENT ON COLUMN report.errors.created_at IS 'When it was noted';

CREATE OR REPLACE VIEW report.throughput AS
SELECT c.finished_at::date AS day, j.kind, count(DISTINCT j.id) AS jobs,
       coalesce(sum(c.size - c.failed) FILTER (WHERE c.state = 'done'), 0) AS items,
       coalesce(sum(c.failed) FILTER (WHERE c.state = 'done'), 0)
         + coalesce(sum(c.size) FILTER (WHERE c.state = 'dead'), 0) AS failed,
       round(sum(extract(epoch FROM c.finished_at - c.started_at)), 3)::double precision
           AS worker_seconds,
       (sum(c.size - c.failed) FILTER (WHERE c.state = 'done')
         / nullif(sum(extract(epoch FROM c.finished_at - c.started_at)), 0))::double precision
           AS items_per_worker_second
FROM @schema@.chunk c JOIN @schema@.job j ON j.id = c.job_id
WHERE c.kind = 'work' AND c.state IN ('done', 'dead') AND c.finished_at IS NOT NULL
GROUP BY 1, 2;
COMMENT ON VIEW report.throughput IS 'The workers'' work, by day and kind of job';
COMMENT ON COLUMN report.throughput.day IS 'Day on which the work ended, in the session''s time zone';
COMMENT ON COLUMN report.throughput.kind IS 'Kind of the jobs';
COMMENT ON COLUMN report.throughput.jobs IS 'Jobs that were worked on';
COMMENT ON COLUMN report.throughput.items IS 'Records or rows done, over all steps';
COMMENT ON COLUMN report.throughput.failed IS 'Records or rows given up';
COMMENT ON COLUMN report.throughput.worker_seconds IS 'Seconds that worker processes spent';
COMMENT ON COLUMN report.throughput.items_per_worker_second IS 'Items done in a second of one process';
