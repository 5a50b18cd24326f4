"""The planner's statistics after bulk loads, sooner than autovacuum would see to them.

A list that was just matched is just what a report asks about; with the statistics of an empty table
its joins would be planned as loops over it, a hundred times as slow.
"""

import sqlalchemy as sa

_TABLES = (
    *("collection", "record", "model", "job", "stage", "chunk", "job_error", "match", "decision"),
    *("evaluation", "evaluation_query"),
)
# stale: a fifth of the rows is new or changed, or it was never analysed, however small it is
_STALE = sa.text("""
    SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.schemaname = current_schema() AND s.relname = ANY(:tables)
      AND (s.n_mod_since_analyze > 50 + 0.2 * greatest(c.reltuples, 0)
           OR c.reltuples < 0 AND s.n_live_tup > 0)
    ORDER BY s.relname
""")


def refresh(connection: sa.Connection) -> list[str]:
    """Analyse the tables that have changed much; returns their names. Waits for nobody."""
    # This session's own counts reach the others with a delay.
    connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    names = list(connection.execute(_STALE, {"tables": list(_TABLES)}).scalars())
    for name in names:
        connection.execute(sa.text(f"ANALYZE (SKIP_LOCKED) {name}"))
    return names
