"""The stage that answers reports: encodes single texts that nobody has imported."""

from collections.abc import Sequence

import sqlalchemy as sa

from aparella.db import chunks, texts
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.stages.embed import FIRST_CHUNK
from aparella.workers.text import clean

_EMPTY = "nothing is left of it after cleaning"


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of the texts that the job has still to answer."""
    ids = texts.of_job(connection, chunk.job_id)
    size = context.settings.embed_chunk or FIRST_CHUNK
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        chunks.add(
            connection,
            job_id=chunk.job_id,
            stage_id=chunk.stage_id,
            kind="work",
            items=part,
            size=len(part),
        )
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Clean and encode the texts as an import and an embed job would."""
    encoder = context.encoder(chunk.params["model_id"])
    tick(0)
    with transaction(context.db) as connection:
        wanted = texts.read(connection, chunk.items)
    cleaned = [(text.id, clean(text.text).text) for text in wanted]
    good = [(text_id, text) for text_id, text in cleaned if text]
    vectors = encoder.encode([text for _, text in good], tick)

    def write(connection: sa.Connection) -> Outcome:
        texts.answer(connection, [text_id for text_id, _ in good], vectors, "")
        _refuse(connection, [text_id for text_id, text in cleaned if not text], _EMPTY)
        return Outcome(size=len(chunk.items))

    return write


def bury(connection: sa.Connection, chunk: Failed, _code: str, message: str) -> None:
    """Who waits for the text is told why there is no vector."""
    _refuse(connection, chunk.items, message)


def _refuse(connection: sa.Connection, ids: Sequence[int], message: str) -> None:
    texts.answer(connection, ids, None, message)
