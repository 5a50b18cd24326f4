-- First candidates by score (bars; x: from_score, y: lines)
SELECT source, target, floor(score * 20) / 20 AS from_score, count(*) AS lines
FROM report.matches
WHERE rank = 1
GROUP BY source, target, from_score
ORDER BY source, target, from_score;
