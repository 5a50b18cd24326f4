"""The benchmarks' figures come out, on a small set; how good they are is for `make bench`."""

import math

from bench import backlog, sql

from aparella.workers.context import Context

ROWS = 1_000


def test_the_figures_of_reports_in_sql(context: Context) -> None:
    context.settings.match_chunk = ROWS
    context.settings.index_memory_mb = 64
    figures = sql.figures(context, ROWS, queries=12)
    assert [figure.name.split(" : ")[0] for figure in figures] == [
        "sql: similar",
        "sql: similar",
        "sql: similar, recall >= 0.99",
        "sql: nearest_pairs",
    ]
    for figure in figures:
        assert all(math.isfinite(one) and one > 0 for one in figure.ratios), figure
        assert figure.ours > 0, figure


def test_the_figures_of_big_tables(context: Context) -> None:
    context.settings.embed_chunk = context.settings.match_chunk = None  # as nobody sets them
    found = backlog.figures(context, records_=2_000, old_chunks=1_000)
    assert len(found) == 4
    assert all(figure.ours > 0 for figure in found)
