-- Versions of the models and what they are worth (a table)
SELECT model, status, parent, promoted_at, pairs, lines, acc_at_1, hit_at_10
FROM report.models
ORDER BY created_at DESC;
