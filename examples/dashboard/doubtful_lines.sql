-- Open lines whose first two candidates are close: look at these first (a table)
SELECT a.source, a.source_key, a.source_text, a.target_key AS first, b.target_key AS second,
       a.score, a.score - b.score AS gap
FROM report.matches a
JOIN report.matches b USING (job, source, source_key, target)
JOIN report.unmatched u USING (source, source_key, target)
WHERE a.rank = 1 AND b.rank = 2 AND u.reason = 'undecided'
ORDER BY gap
LIMIT 50;
