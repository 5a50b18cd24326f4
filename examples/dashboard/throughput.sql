-- Items done a day, by kind of job (stacked bars; x: day, y: items, series: kind)
SELECT day, kind, items, failed, worker_seconds
FROM report.throughput
WHERE day > current_date - 30
ORDER BY day, kind;
