-- Jobs, newest first, with their progress (a table)
SELECT job, kind, state, source, target, model, progress, done, failed, items, stage,
       created_at, duration, errors
FROM report.jobs
ORDER BY job DESC
LIMIT 20;
