"""The stage that decides whether a model may become the default."""

from typing import Any

import sqlalchemy as sa

from aparella.db import chunks, evaluations, jobs, models, stages
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.evaluation import gate
from aparella.workers.evaluation.ranks import Ranked, Ranks


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: one decision."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, _tick: Tick) -> Write:
    """Compare the model with the promoted one on the queries that judged both."""
    model_id, reason = chunk.params["model_id"], chunk.params.get("reason")
    with transaction(context.db) as connection:
        candidate = models.model_by_id(connection, model_id)
        current = models.find_model(connection, None)
        own, others = _common(connection, candidate.id, current.id)
    if own:
        verdict = gate.judge(own, others)
        passed, sentence, numbers = verdict.passed, verdict.sentence, verdict.to_json()
    else:
        passed, numbers = False, {}
        sentence = (
            f"{candidate} and {current} were never judged on the same pairs. Run `aparella model "
            f"evaluate {candidate} --pairs PAIRS` first."
        )
    record: dict[str, Any] = {"passed": passed, "sentence": sentence, **numbers}
    if not passed and reason:
        sentence = f"{sentence} Overruled: {reason}"

    def write(connection: sa.Connection) -> Outcome:
        jobs.add_summary(connection, chunk.job_id, {"gate": sentence})
        fatal = None
        if passed or reason:
            found = {"verdict": record, "against": current.id}
            stages.add_params(connection, chunk.job_id, "switch", found)
        elif chunk.params["required"]:
            fatal = (
                f"{candidate} was not promoted. {sentence} To promote it all the same: --force "
                "--reason WHY."
            )
        else:
            stages.skip_waiting(connection, chunk.job_id)
        return Outcome(size=chunk.size, fatal=fatal)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _common(connection: sa.Connection, own_id: int, other_id: int) -> tuple[Ranks, Ranks]:
    """What both models found for the queries that both were judged by, in the same order."""
    own: Ranks = []
    others: Ranks = []
    for pair_set_id in evaluations.pair_sets(connection, own_id):
        mine = evaluations.queries(connection, own_id, pair_set_id)
        theirs = evaluations.queries(connection, other_id, pair_set_id)
        for source in sorted(mine.keys() & theirs.keys()):
            own.append(_ranked(mine[source]))
            others.append(_ranked(theirs[source]))
    return own, others


def _ranked(query: evaluations.Query) -> Ranked | None:
    return Ranked(query.ranks, query.right) if query.ranks else None
