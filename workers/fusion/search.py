"""The best records of a catalogue for each line, by all the evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aparella.workers.features.attributes import Attributes
from aparella.workers.fusion.candidates import DEPTH, Candidates, Floors, Ids
from aparella.workers.fusion.confidence import firsts
from aparella.workers.fusion.corpus import Corpus, Lines
from aparella.workers.fusion.evidence import FEATURES, compare_attributes
from aparella.workers.fusion.explanation import Explanation, explain
from aparella.workers.fusion.lexical import VIEWS
from aparella.workers.fusion.model import Fusion

DECIMALS = 6
"""Of confidences: what is equal to a user is then equal to a threshold as well."""

_BLOCK = 250
"""Lines at a time: about 5,000 candidates, 30 MB."""
_CONTRADICTING = list(FEATURES).index("contradicting_measures")

Scores = NDArray[np.float32]
Cosine = Callable[[Ids, Ids], Scores]
"""Places of lines and record ids, (n,) each, to the cosines of their vectors, (n,), NaN where a
record has none."""
Beside = Callable[[Ids, Ids], tuple[Sequence[Attributes], Sequence[Attributes]]]
"""Places of lines and record ids, (n,) each, to the attributes of both, (n,) each."""


@dataclass(frozen=True)
class Shelf:
    """A catalogue's records over its distinct texts.

    Attributes:
        corpus: the texts, n rows.
        ids: record ids, those of row 0 first, ascending within a row.
        starts: int64 (rows + 1,): row r has the records `ids[starts[r] : starts[r + 1]]`.
    """

    corpus: Corpus
    ids: Ids
    starts: Ids

    @classmethod
    def build(cls, ids: Ids, texts: Sequence[str]) -> "Shelf":
        """From records in any order, (n,) each."""
        place: dict[str, int] = {}
        rows = np.fromiter((place.setdefault(t, len(place)) for t in texts), np.int64, len(texts))
        counts = np.bincount(rows, minlength=len(place))
        return cls(
            Corpus(list(place)),
            ids[np.lexsort((ids, rows))],
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)]),
        )

    def rows(self, ids: Ids) -> Ids:
        """The row of each record, -1 for one that is not here."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        order = np.argsort(self.ids)
        place = np.minimum(np.searchsorted(self.ids, ids, sorter=order), max(len(order) - 1, 0))
        found = order[place]
        row = np.searchsorted(self.starts, found, side="right") - 1
        return np.where(self.ids[found] == ids, row, -1)


@dataclass(frozen=True)
class Answers:
    """What was found for m lines.

    Attributes:
        ids: record ids, best first, int64 (m, k), padded with -1.
        scores: cosines, float32 (m, k), padded with NaN.
        confidences: float32 (m, k), NaN for candidates beyond those that were weighed.
        explanations: of the first candidates; None where there is none.
        contradicted: whether a measure of the first candidate contradicts the line, bool (m,).
        floors: what a record's score by the vectors and by each of `VIEWS` must reach for it to be
            among the candidates, float32 (m, 4); -inf and 0 where there is room for more.
    """

    ids: Ids
    scores: Scores
    confidences: Scores
    explanations: list[Explanation | None]
    contradicted: NDArray[np.bool_]
    floors: Floors


def search(
    shelf: Shelf,
    fusion: Fusion,
    texts: Sequence[str],
    dense: tuple[Ids, Scores],
    cosine: Cosine,
    k: int,
    exclude: Ids,
    progress: Callable[[int], None],
    beside: Beside | None = None,
) -> Answers:
    """Rank the records for each line.

    A line's answer depends on the line and the catalogue alone.

    Args:
        shelf: the catalogue.
        fusion: how evidence is weighed.
        texts: the lines, cleaned, m.
        dense: the nearest records of each line and their cosines, (m, any) each, padded
            with -1 and NaN.
        cosine: of others.
        k: records wanted.
        exclude: int64 (m,): a record that is not to be found by this line.
        progress: called with the lines done since the last call.
        beside: what is known of both beside their texts; None: nothing that counts.
    """
    m = len(texts)
    answers = Answers(
        np.full((m, k), -1, dtype=np.int64),
        np.full((m, k), np.nan, dtype=np.float32),
        np.full((m, k), np.nan, dtype=np.float32),
        [None] * m,
        np.zeros(m, dtype=bool),
        np.zeros((m, 1 + len(VIEWS)), dtype=np.float32),
    )
    for start in range(0, m, _BLOCK):
        part = range(start, min(start + _BLOCK, m))
        _search_block(shelf, fusion, texts, dense, cosine, beside, exclude, part, answers)
        progress(len(part))
    return answers


def _search_block(
    shelf: Shelf,
    fusion: Fusion,
    texts: Sequence[str],
    dense: tuple[Ids, Scores],
    cosine: Cosine,
    beside: Beside | None,
    exclude: Ids,
    part: range,
    answers: Answers,
) -> None:
    here = slice(part.start, part.stop)
    nearest, floors = _nearest_rows(shelf, dense[0][here], dense[1][here])
    lines = Lines(shelf.corpus, texts[here], nearest)
    found = lines.candidates
    answers.floors[here] = np.column_stack([floors, lines.floors])
    # A row's first record stands for it, the second where the first is the line itself.
    first, count = shelf.starts[found.row], np.diff(shelf.starts)[found.row]
    own = shelf.ids[first] == exclude[here][found.query]
    record = shelf.ids[np.minimum(first + own, first + count - 1)]
    score = cosine(found.query + part.start, record)
    kept = ~(own & (count == 1)) & ~np.isnan(score)
    found, score, record = found.where(kept), score[kept], record[kept]
    if len(found):
        features = lines.features(found, score, fusion.abbreviations)
        of_records: Sequence[Attributes] = [{}] * len(found)
        if beside is not None:
            of_lines, of_records = beside(found.query + part.start, record)
            compare_attributes(features, of_lines, of_records)
        utility = fusion.utilities(features)
        leading = firsts(found, features, utility)
        categories = [fusion.categories.of(of_records[i]) for i in leading.pair.tolist()]
        share = fusion.shares(found, utility, leading, categories).round(DECIMALS)
        order = np.lexsort((found.row, -utility, found.query))
        gain = fusion.contributions(features)
        bounds = np.append(found.starts, len(found))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            ranked = order[begin:end]
            i, best = int(found.query[begin]), int(ranked[0])
            lead = gain[best] - gain[ranked[1]] if len(ranked) > 1 else gain[best]
            answers.explanations[part.start + i] = explain(
                lines.facts(i), shelf.corpus.facts(int(found.row[best])), shelf.corpus.idf, lead
            )
            answers.contradicted[part.start + i] = features[best, _CONTRADICTING] > 0
            _place(shelf, found, ranked, score, share, exclude, answers, part.start + i)
    for i in part:
        _append(answers, i, dense)


def _nearest_rows(shelf: Shelf, near: Ids, scores: Scores) -> tuple[tuple[Ids, Ids], Floors]:
    """The first `DEPTH` distinct rows of each line's nearest records, as (line, row) pairs.

    And the cosine of the last of them; -inf where all records of the catalogue are among these.
    """
    query, place = np.nonzero(near >= 0)
    row = shelf.rows(near[query, place])
    query, place, row = query[row >= 0], place[row >= 0], row[row >= 0]
    # Records of one text stand together: a row is new where the one before was another.
    new = np.ones(len(row), dtype=bool)
    new[1:] = (row[1:] != row[:-1]) | (query[1:] != query[:-1])
    query, place, row = query[new], place[new], row[new]
    number = np.arange(len(query)) - np.searchsorted(query, query)
    kept = number < DEPTH
    query, place, row = query[kept], place[kept], row[kept]
    floors = np.full(len(near), -np.inf, dtype=np.float32)
    floors[query] = scores[query, place]  # of a line's several, the last one stays
    room = np.bincount(query, minlength=len(near)) < DEPTH
    floors[room & (near < 0).any(axis=1)] = -np.inf
    return (query, row), floors


def _place(
    shelf: Shelf,
    found: Candidates,
    ranked: Ids,
    score: Scores,
    share: NDArray[np.float64],
    exclude: Ids,
    answers: Answers,
    line: int,
) -> None:
    """Write a line's ranked rows into the answers, each with all its records."""
    k, column = answers.ids.shape[1], 0
    for pair in ranked.tolist():
        row = found.row[pair]
        for record in shelf.ids[shelf.starts[row] : shelf.starts[row + 1]].tolist():
            if column == k:
                return
            if record != exclude[line]:
                answers.ids[line, column] = record
                answers.scores[line, column] = score[pair]
                answers.confidences[line, column] = share[pair]
                column += 1


def _append(answers: Answers, line: int, dense: tuple[Ids, Scores]) -> None:
    """Fill up what is still free with the nearest records that were not weighed."""
    ids = answers.ids[line]
    free = int((ids >= 0).sum())
    if free == len(ids):
        return
    more = (dense[0][line] >= 0) & ~np.isin(dense[0][line], ids[:free])
    others = np.flatnonzero(more)[: len(ids) - free]
    ids[free : free + len(others)] = dense[0][line][others]
    answers.scores[line, free : free + len(others)] = dense[1][line][others]
