"""The stage that judges models by the held-out pairs, over the whole catalogue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from aparella.category import ATTRIBUTES
from aparella.db import chunks, evaluations, jobs, models, pair_texts, pairs, records, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.evaluations import Query
from aparella.db.leases import Claimed
from aparella.db.models import Model
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.encoder import Vectors
from aparella.workers.evaluation import lexical, metrics, split
from aparella.workers.evaluation.ranks import Blocks, Ranked, Ranks, rank

TRIGRAMS = "character trigrams (TF-IDF)"


@dataclass(frozen=True)
class _Exam:
    """A pair set's queries, their right records, and the catalogue in which these are to be found.

    Attributes:
        texts: of the queries, by the hash of the text.
        right: ids of each query's right records, with all that bear the same text.
        folds: of each query.
        categories: of each query, None where records have none.
        collection_id: the catalogue; None: the pairs' own targets, by their place in `targets`.
        targets: those texts.
        records: how many candidates there are.
        split_sha256: of the pairs and their folds.
    """

    pair_set_id: int
    name: str
    texts: dict[bytes, str]
    right: dict[bytes, set[int]]
    folds: dict[bytes, int]
    categories: dict[bytes, str | None]
    collection_id: int | None
    targets: list[str]
    records: int
    split_sha256: str


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: a verdict over all."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Rank the whole catalogue for each held-out query, by each system."""
    params = chunk.params
    judged: list[tuple[_Exam, int | None, dict[bytes, Query]]] = []
    with transaction(context.db) as connection:
        names = {i: str(models.model_by_id(connection, i)) for i in _ids(params)}
    for judge in params["judges"]:
        with transaction(context.db) as connection:
            exam = _exam(connection, judge, params["entrants"], params["category"])
        found: dict[bytes, Query] = {}
        for entrant in params["entrants"]:
            own = [h for h, fold in exam.folds.items() if fold in entrant["folds"]]
            found |= _by_model(context, exam, entrant["model_id"], own, tick)
        judged.append((exam, params["model_id"], found))
        judged += [
            (exam, model_id, _reference(context, exam, model_id, tick))
            for model_id in params["references"]
            if model_id != params["model_id"]
        ]
        judged.append((exam, None, _by_trigrams(context, exam, tick)))
    method = "holdout" if len(params["entrants"]) == 1 else "cross_validation"
    reports = [_report(exam, found) for exam, _, found in judged]
    rows = [
        {
            "pairs": exam.name,
            "system": TRIGRAMS if model_id is None else names[model_id],
            "queries": report.overall.queries,
            "records": report.overall.records,
            **{name: round(value.value, 4) for name, value in report.overall.items()},
            "low": round(report.overall.acc_1.low, 4),
            "high": round(report.overall.acc_1.high, 4),
        }
        for (exam, model_id, _), report in zip(judged, reports, strict=True)
        if report is not None
    ]

    def write(connection: sa.Connection) -> Outcome:
        for (exam, model_id, found), report in zip(judged, reports, strict=True):
            if report is None:
                continue
            evaluations.store(
                connection,
                model_id=model_id,
                pair_set_id=exam.pair_set_id,
                job_id=chunk.job_id,
                method=method,
                split_sha256=exam.split_sha256,
                figures=report.to_json(),
                queries=found.values(),
            )
        jobs.add_summary(connection, chunk.job_id, {"evaluation": rows})
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _ids(params: Mapping[str, Any]) -> set[int]:
    return {params["model_id"], *params["references"]}


def _exam(
    connection: sa.Connection,
    judge: Mapping[str, Any],
    entrants: Sequence[Mapping[str, Any]],
    category: str | None,
) -> _Exam:
    folds = sorted({fold for entrant in entrants for fold in entrant["folds"]})
    name = pair_texts.set_name(connection, judge["pair_set_id"])
    known = [p for p in pairs.current(connection, judge["pair_set_id"], folds) if p.positive]
    targets: dict[bytes, str] = {}
    ids: dict[bytes, set[int]] = {}
    of_category: dict[int, str] = {}
    collection_id = judge["collection_id"]
    if collection_id is None:
        # Every target of the set is a candidate, those of the training part too.
        targets = pair_texts.targets(connection, judge["pair_set_id"])
        ids = {target: {place} for place, target in enumerate(targets)}
        count = len(targets)
    else:
        wanted = sorted({p.target_hash for p in known})
        ids, of_category = records.bearers(
            connection, collection_id, wanted, (category,) if category else ATTRIBUTES
        )
        count = records.count(connection, collection_id)
    right: dict[bytes, set[int]] = {}
    for pair in known:
        right.setdefault(pair.source_hash, set()).update(ids.get(pair.target_hash, ()))
    return _Exam(
        pair_set_id=judge["pair_set_id"],
        name=name,
        texts={p.source_hash: p.source_text for p in known},
        right=right,
        folds={p.source_hash: p.fold for p in known if p.fold is not None},
        categories={h: _category(found, of_category) for h, found in right.items()},
        collection_id=collection_id,
        targets=list(targets.values()),
        records=count,
        split_sha256=split.digest(
            split.PairKey(**vars(key)) for key in pairs.keys(connection, judge["pair_set_id"])
        ),
    )


def _category(found: Iterable[int], of_category: Mapping[int, str]) -> str | None:
    return next((of_category[i] for i in sorted(found) if i in of_category), None)


def _by_model(
    context: Context, exam: _Exam, model_id: int, queries: list[bytes], tick: Tick
) -> dict[bytes, Query]:
    encoder = context.encoder(model_id)
    tick(0)

    def encode(texts: list[str]) -> Vectors:
        return encoder.encode(texts, lambda _done: tick(0))

    encoded = encode([exam.texts[h] for h in queries])
    return _queries(
        exam,
        queries,
        rank(
            encoded,
            [exam.right[h] for h in queries],
            _blocks(context, exam, model_id, encode, tick),
        ),
    )


def _blocks(context: Context, exam: _Exam, model_id: int, encode: Any, tick: Tick) -> Blocks:
    """The catalogue's vectors, from the database or, of targets without one, encoded now."""
    if exam.collection_id is None:
        matrix = encode(exam.targets)
        return lambda: [(np.arange(len(exam.targets)), matrix)]
    collection_id = exam.collection_id

    def read() -> Iterable[tuple[Any, Any]]:
        for block in vectors.pages(context.db, model_id, collection_id):
            tick(0)
            yield block.ids, block.vectors

    return read


def _reference(context: Context, exam: _Exam, model_id: int, tick: Tick) -> dict[bytes, Query]:
    """What a model of the registry finds; where it has seen the answers, what its twin found."""
    with transaction(context.db) as connection:
        model = models.model_by_id(connection, model_id)
        noted = evaluations.queries(connection, model_id, exam.pair_set_id)
    unseen = [h for h, fold in exam.folds.items() if not _has_seen(model, exam, fold)]
    found = {h: query for h, query in noted.items() if h in exam.folds and h not in unseen}
    return found | _by_model(context, exam, model_id, unseen, tick)


def _has_seen(model: Model, exam: _Exam, fold: int) -> bool:
    """Whether a model was trained on the pairs of a fold."""
    return exam.pair_set_id in model.training.get("pair_set_ids", ()) and fold not in model.held_out


def _by_trigrams(context: Context, exam: _Exam, tick: Tick) -> dict[bytes, Query]:
    queries = list(exam.texts)

    def read() -> Iterable[tuple[Any, Sequence[str]]]:
        if exam.collection_id is None:
            yield np.arange(len(exam.targets)), exam.targets
            return
        for ids, texts in records.text_pages(context.db, exam.collection_id):
            tick(0)
            yield ids, texts

    texts = [exam.texts[h] for h in queries]
    return _queries(exam, queries, lexical.rank(texts, [exam.right[h] for h in queries], read))


def _queries(exam: _Exam, queries: list[bytes], ranks: Ranks) -> dict[bytes, Query]:
    return {
        h: Query(
            h,
            ranked.ranks if ranked else (),
            ranked.right if ranked else len(exam.right[h]),
            exam.categories[h],
        )
        for h, ranked in zip(queries, ranks, strict=True)
    }


def _report(exam: _Exam, found: Mapping[bytes, Query]) -> metrics.Report | None:
    """Figures of what was found; None where there is no query to judge by."""
    if not found:
        return None
    ranks = [Ranked(q.ranks, q.right) if q.ranks else None for q in found.values()]
    categories = [q.category for q in found.values()]
    return metrics.report(ranks, exam.records, categories if any(categories) else None)
