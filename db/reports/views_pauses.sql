-- Jobs that rest: revision 0009 puts this in the place of the view in views_jobs.sql, which stays there
-- for a database that goes back.

CREATE OR REPLACE VIEW report.jobs AS
SELECT j.id AS job, j.kind,
       CASE WHEN j.paused_at IS NOT NULL AND j.state IN ('queued', 'running') THEN 'paused'
            ELSE j.state END AS state,
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
       j.error, j.summary, now() AS as_of,
       CASE WHEN j.state IN ('queued', 'running') THEN j.paused_at END AS paused_at
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
COMMENT ON COLUMN report.jobs.state IS
    'queued, running, paused, cancelling, succeeded, succeeded_with_errors, failed or cancelled';
COMMENT ON COLUMN report.jobs.paused_at IS 'Since when it rests; NULL where it does not';
