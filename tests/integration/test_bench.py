"""The benchmarks' figures come out, on a small set; how good they are is for `make bench`."""

import math
from urllib.parse import urlsplit

from bench import backlog, clients, sql
from pydantic import SecretStr

from aparella.workers.context import Context
from tests.integration.test_api_process import serving

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


def test_the_figures_of_many_clients(context: Context) -> None:
    backlog.fill(context.db, 100)
    context.settings.anonymous = False
    context.settings.token = SecretStr(clients.TOKEN)
    with serving(context.settings) as (url, _):
        where = urlsplit(url)
        address = str(where.hostname), int(where.port or 0)
        errors, within, standing = clients.figures(address, clients=20, seconds=1.0, pairs=1)
    assert (errors.ours, errors.ok) == (0, True)
    assert within.ours > 0
    assert standing.ours > 20
