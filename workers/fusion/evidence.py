"""The evidence for each candidate: one number a feature, larger is more alike unless it says so."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.workers.features import attributes, codes, negations
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.features.agreement import agreement
from aparella.workers.features.attributes import Attributes
from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.facts import Facts
from aparella.workers.fusion.lexical import Rows, Sparse, products

Matrix: TypeAlias = NDArray[np.float64]

FEATURES: dict[str, int] = {
    "cosine": 1,
    "cosine_rank": -1,
    "cosine_best": 1,
    "letters": 1,
    "letters_rank": -1,
    "letters_best": 1,
    "words_coverage": 1,
    "words_reverse": 1,
    "words_bm25": 1,
    "words_bm25_share": 1,
    "joined_coverage": 1,
    "joined_reverse": 1,
    "joined_bm25": 1,
    "joined_bm25_share": 1,
    "expanded_coverage": 1,
    "token_set_ratio": 1,
    "token_set_rank": -1,
    "token_set_best": 1,
    "first_word": 1,
    "shared_code": 1,
    "part_of_code": 1,
    "missed_code": -1,
    "figures_coverage": 1,
    "figures_reverse": 1,
    "missed_figures": -1,
    "agreeing_measures": 1,
    "contradicting_measures": -1,
    "agreeing_negations": 1,
    "contradicting_negations": -1,
    "length_ratio": 0,
    "length_difference": 0,
    "attributes_agreeing": 1,
    "attributes_contradicting": -1,
}
"""Each feature, and the sign that its weight may have: 1 for what speaks for a candidate, -1 for
what speaks against it, 0 for either. What is known beforehand need not be learnt from few pairs.

- `cosine`: of the model's vectors. `letters`: cosine of TF-IDF weighted character trigrams.
- `…_rank`: ln(1 + place) among the query's candidates, from 0; `…_best`: 1 for the first.
- `…_coverage`: share of the query's words, weighted by IDF, that the candidate has; `…_reverse`:
  the other way round. `words` and `joined`: see `lexical.VIEWS`. `expanded_coverage`: abbreviations
  expanded, and a word cut short counts as the word.
- `…_bm25`: by the query's IDF; `…_bm25_share`: by the best candidate's.
- `token_set_ratio`: RapidFuzz's, 0 to 1. `first_word`: the candidate has the query's first word.
- `shared_code`, `part_of_code`, `missed_code`: model numbers, whole, in part; both have some and
  none in common.
- `figures_…`: shares of the numbers as written; `missed_figures`: both have some, none in common.
- `agreeing_…`, `contradicting_…`: how many measures or negations, at most 3.
- `attributes_…`: how many of the records' attributes, at most 3; see `features.attributes`.
- `length_ratio`: ln of candidate's by query's letters; `length_difference`: its absolute value.
"""

_COLUMN = {name: place for place, name in enumerate(FEATURES)}
_MOST = 3
_SHORTEST_PREFIX = 3


@dataclass(frozen=True)
class Lists:
    """Texts as the features need them: a catalogue's rows, or a job's queries."""

    rows: Rows
    facts: Mapping[int, Facts]


def matrix(
    candidates: Candidates,
    cosine: NDArray[np.float32],
    queries: Lists,
    catalogue: Lists,
    abbreviations: Abbreviations,
) -> Matrix:
    """All features of all candidates' texts, float64 (n, len(FEATURES)).

    Those of attributes are 0: `compare_attributes` fills them in.

    A candidate's features depend on its query and the query's other candidates alone.

    Args:
        candidates: n pairs.
        cosine: of each pair's vectors, (n,).
        queries: the texts looked for; `facts` is read at the places that the candidates name.
        catalogue: the texts found, likewise.
        abbreviations: for `expanded_coverage`.
    """
    found = np.zeros((len(candidates), len(FEATURES)))
    if not len(candidates):
        return found
    found[:, _COLUMN["cosine"]] = cosine
    _sparse(found, candidates, queries.rows, catalogue.rows)
    _fuzzy(found, candidates, queries.facts, catalogue.facts)
    _stated(found, candidates, queries.facts, catalogue.facts, abbreviations)
    relate(found, candidates)
    return found


def compare_attributes(
    found: Matrix, lines: Sequence[Attributes], records: Sequence[Attributes]
) -> None:
    """Fill in, in place, what the attributes of each pair's line and record say, (n,) each."""
    counts = [attributes.comparison(a, b) for a, b in zip(lines, records, strict=True)]
    columns = [_COLUMN["attributes_agreeing"], _COLUMN["attributes_contradicting"]]
    found[:, columns] = np.minimum(np.array(counts).reshape(-1, 2), _MOST)


def relate(found: Matrix, candidates: Candidates) -> None:
    """Work out, in place, the features that compare a query's candidates with each other.

    Again where some candidates were left out: what came second is then the first.
    """
    if not len(candidates):
        return
    starts = candidates.starts
    lengths = np.diff(np.append(starts, len(candidates)))
    for name, of in (
        ("cosine", "cosine"),
        ("letters", "letters"),
        ("token_set", "token_set_ratio"),
    ):
        place = ranks(found[:, _COLUMN[of]], candidates)
        found[:, _COLUMN[f"{name}_rank"]] = np.log1p(place)
        found[:, _COLUMN[f"{name}_best"]] = place == 0
    for view in ("words", "joined"):
        bm25 = found[:, _COLUMN[f"{view}_bm25"]]
        best = np.repeat(np.maximum.reduceat(bm25, starts), lengths)
        found[:, _COLUMN[f"{view}_bm25_share"]] = bm25 / np.maximum(best, 1e-6)


def ranks(values: NDArray[np.float64], candidates: Candidates) -> NDArray[np.int64]:
    """The place of each candidate among its query's, from 0: by value, equal ones by row."""
    order = np.lexsort((candidates.row, -values, candidates.query))
    starts = candidates.starts
    lengths = np.diff(np.append(starts, len(values)))
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values)) - np.repeat(starts, lengths)
    return place


def _sparse(found: Matrix, candidates: Candidates, queries: Rows, catalogue: Rows) -> None:
    """What scalar products of sparse rows give."""
    query, row = candidates.query, candidates.row
    letters = products(queries.weighted["letters"], query, catalogue.weighted["letters"], row)
    found[:, _COLUMN["letters"]] = letters
    for view in ("words", "joined"):
        bm25 = products(queries.weighted[view], query, catalogue.weighted[view], row)
        shared = products(queries.inverse[view], query, catalogue.present[view], row)
        of_query = np.maximum(_sums(queries.inverse[view])[query], 1e-6)
        of_row = np.maximum(_sums(catalogue.inverse[view])[row], 1e-6)
        found[:, _COLUMN[f"{view}_coverage"]] = shared / of_query
        found[:, _COLUMN[f"{view}_reverse"]] = shared / of_row
        found[:, _COLUMN[f"{view}_bm25"]] = bm25 / of_query


def _sums(rows: Sparse) -> NDArray[np.float64]:
    return np.asarray(rows.sum(axis=1), dtype=np.float64).ravel()


def _fuzzy(
    found: Matrix, candidates: Candidates, queries: Mapping[int, Facts], rows: Mapping[int, Facts]
) -> None:
    from rapidfuzz import fuzz, process

    left = [queries[i].folded for i in candidates.query.tolist()]
    right = [rows[i].folded for i in candidates.row.tolist()]
    ratio = process.cpdist(left, right, scorer=fuzz.token_set_ratio, dtype=np.float64)
    found[:, _COLUMN["token_set_ratio"]] = ratio / 100


def _stated(
    found: Matrix,
    candidates: Candidates,
    queries: Mapping[int, Facts],
    rows: Mapping[int, Facts],
    abbreviations: Abbreviations,
) -> None:
    """What the texts' facts give, pair by pair."""
    names = (
        *("expanded_coverage", "first_word", "shared_code", "part_of_code", "missed_code"),
        *("figures_coverage", "figures_reverse", "missed_figures"),
        *("agreeing_measures", "contradicting_measures"),
        *("agreeing_negations", "contradicting_negations", "length_ratio", "length_difference"),
    )
    columns = [_COLUMN[name] for name in names]
    values = np.empty((len(candidates), len(names)))
    for place, (i, j) in enumerate(
        zip(candidates.query.tolist(), candidates.row.tolist(), strict=True)
    ):
        a, b = queries[i], rows[j]
        code = codes.comparison(a.codes, b.codes)
        measured = agreement(a.measures, b.measures)
        claimed = negations.comparison(a.claims, b.claims)
        both = len(a.figures & b.figures)
        length = np.log((len(b.folded) + 1) / (len(a.folded) + 1))
        values[place] = (
            expanded_coverage(a, b, abbreviations),
            a.first in b.words,
            bool(code.shared),
            bool(code.parts),
            code.contradicting,
            both / len(a.figures) if a.figures else 0.5,
            both / len(b.figures) if b.figures else 0.5,
            bool(a.figures and b.figures and not both),
            min(len(measured.agreeing), _MOST),
            min(len(measured.contradicting), _MOST),
            min(len(claimed.agreeing), _MOST),
            min(len(claimed.contradicting), _MOST),
            length,
            abs(length),
        )
    found[:, columns] = values


def expanded_coverage(a: Facts, b: Facts, abbreviations: Abbreviations) -> float:
    """Share of a's words, weighted by IDF, that b has: whole, expanded, or as a longer word."""
    total = covered = 0.0
    for token, weight in zip(a.tokens, a.weights, strict=True):
        total += weight
        if token in b.words or is_cut_short(token, b) or _expands(token, b, abbreviations):
            covered += weight
    return covered / total if total else 0.0


def is_cut_short(token: str, b: Facts) -> bool:
    """Whether some word of b begins with a token of three letters or more."""
    if len(token) < _SHORTEST_PREFIX:
        return False
    words = b.sorted_words
    place = bisect_left(words, token)
    return place < len(words) and words[place].startswith(token)


def _expands(token: str, b: Facts, abbreviations: Abbreviations) -> bool:
    return any(
        all(word in b.words for word in expansion.words)
        for expansion in abbreviations.table.get(token, ())
    )
