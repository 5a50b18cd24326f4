-- How far the review is: lines of each list by what became of them (a bar)
SELECT source, target, 'accepted' AS outcome, count(DISTINCT source_key) AS lines
FROM report.decisions
WHERE in_force AND verdict = 'accept'
GROUP BY source, target
UNION ALL
SELECT source, target, reason, count(*)
FROM report.unmatched
GROUP BY source, target, reason
ORDER BY source, target, outcome;
