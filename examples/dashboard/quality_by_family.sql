-- Accuracy of the model in use by family, worst first (bars)
SELECT category AS family, lines, acc_at_1, hit_at_10, as_of
FROM report.match_quality
WHERE status = 'promoted' AND lines >= 10
ORDER BY acc_at_1, family;
