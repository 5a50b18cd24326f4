"""What a text states, worked out once and compared many times."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from aparella.workers.features import codes, measures, negations, words
from aparella.workers.features.measures import Measure
from aparella.workers.features.negations import Claims

_FIGURE = re.compile(r"\d+(?:[.,]\d+)?")
_ABBREVIATED = 1.0
"""Weight of `p/`, `s/` and their like, which stand for the commonest words; no catalogue has them
as they are, so that their own IDF would be the highest of all."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A text taken apart.

    Attributes:
        folded: without case and accents.
        words: its folded words, as a set and in alphabetical order.
        tokens: its words in their order, abbreviations with their slash.
        weights: of each token, its IDF.
        first: its first word; in most catalogues the kind of thing, or who makes it.
        codes: its model numbers.
        figures: its numbers as written, those in measures and codes too.
        measures: numbers with units.
        claims: what it denies and what it affirms.
    """

    folded: str
    words: frozenset[str]
    sorted_words: tuple[str, ...]
    tokens: tuple[str, ...]
    weights: tuple[float, ...]
    first: str
    codes: frozenset[str]
    figures: frozenset[str]
    measures: tuple[Measure, ...]
    claims: Claims


def facts(text: str, idf: Callable[[str], float]) -> Facts:
    """Take a cleaned text apart.

    Args:
        text: as it is stored.
        idf: of a folded word, in the catalogue.
    """
    folded = words.fold(text)
    found = measures.measures(text)
    listed = words.words(text)
    tokens = words.marked(text)
    distinct = frozenset(listed)
    return Facts(
        folded=folded,
        words=distinct,
        sorted_words=tuple(sorted(distinct)),
        tokens=tokens,
        weights=tuple(_ABBREVIATED if "/" in token else idf(token) for token in tokens),
        first=listed[0] if listed else "",
        codes=codes.codes(text, found),
        figures=frozenset(_FIGURE.findall(folded)),
        measures=found,
        claims=negations.claims(text),
    )
