"""Abbreviations, learnt from pairs of a short and a long text that mean the same.

A short token may stand for a word that it begins (`xer`, xeringa), whose letters it picks in
order (`semiaut`, semiautomàtica; `mtx`, matrix), for words whose initials it is (`tst`, teixit
sense teixir), or, before a slash, for a word that it begins (`p/`, per). Whether it does is decided
over all pairs: see `learn`.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aparella.workers.features.words import marked, words

MIN_SUPPORT = 3
"""Pairs in which the short token and what it stands for must meet."""

MIN_LIKELIHOOD = 10.83
"""Dunning's log-likelihood ratio that they must reach: the chi-square of one degree of freedom at
p = 0.001."""

MIN_SHARE = 0.3
"""Of the pairs whose short text has the token, the share whose long text has the words."""

_MOST = 4
"""Expansions kept of one token: forms of a word (xeringa, xeringues), a second meaning."""

_VOWELS = frozenset("aeiou")

_COMMON: dict[str, tuple[str, ...]] = {
    "p/": ("per a", "para", "per", "for"),
    "c/": ("amb", "con", "with"),
    "a/": ("amb",),
    "w/": ("with",),
    "s/": ("sense", "sin", "without"),
    "w/o": ("without",),
    "d/": ("de",),
    "ud": ("unitats", "unidades", "units", "unitat", "unidad", "unit"),
    "uds": ("unitats", "unidades", "units"),
    "un": ("unitat", "unidad", "unit"),
    "cx": ("caixa", "caja", "box"),
    "est": ("esteril", "sterile"),
    "diam": ("diametre", "diametro", "diameter"),
    "long": ("longitud", "length"),
    "cap": ("capacitat", "capacidad", "capacity"),
    "conn": ("connexio", "connector", "conexion", "conector", "connection"),
    "transp": ("transparent", "transparente"),
    "ref": ("referencia", "reference"),
    "num": ("numero", "number"),
    "ped": ("pediatric", "pediatrico"),
    "ad": ("adult", "adulto"),
    "inox": ("inoxidable", "stainless"),
    "esp": ("especial", "special"),
    "tst": ("teixit sense teixir",),
    "pk": ("pack",),
    "pkg": ("package",),
    "std": ("standard", "estandard", "estandar"),
    "prof": ("professional", "profesional"),
    "ed": ("edition", "edicio", "edicion"),
    "wht": ("white",),
    "blk": ("black",),
}


@dataclass(frozen=True, slots=True)
class Expansion:
    """What an abbreviation stands for.

    Attributes:
        words: folded, in their order.
        support: pairs in which it was seen; 0 if it is from the table that ships.
    """

    words: tuple[str, ...]
    support: int


@dataclass(frozen=True)
class Abbreviations:
    """Short tokens and what they stand for, the best supported first."""

    table: Mapping[str, tuple[Expansion, ...]] = field(
        default_factory=lambda: MappingProxyType(
            {
                token: tuple(Expansion(tuple(e.split()), 0) for e in expansions)
                for token, expansions in _COMMON.items()
            }
        )
    )

    def expand(self, tokens: Iterable[str], toward: Collection[str] = ()) -> tuple[str, ...]:
        """The tokens, each abbreviation replaced by the words it stands for.

        A token with several meanings takes the first whose words all stand in `toward`; if none
        do, and `toward` does not have the token itself, the best supported one.

        Args:
            tokens: folded, as `words.marked` gives them.
            toward: the words of the text that it is to be compared with, best a set.
        """
        table = self.table
        result: list[str] = []
        for token in tokens:
            known = table.get(token)
            if known is None:
                result.append(token)
                continue
            for expansion in known:
                if all(word in toward for word in expansion.words):
                    result.extend(expansion.words)
                    break
            else:
                result.extend((token,) if token in toward else known[0].words)
        return tuple(result)

    def to_json(self) -> dict[str, Any]:
        """As plain lists, numbers and strings, to be stored with a model."""
        return {
            "version": 1,
            "table": {
                token: [[" ".join(e.words), e.support] for e in expansions]
                for token, expansions in sorted(self.table.items())
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Abbreviations":
        """From what `to_json` gave.

        Raises:
            ValueError: it is of another version or of another form.
        """
        try:
            version = stored["version"]
            table = {
                str(token): tuple(Expansion(tuple(str(e).split()), int(n)) for e, n in expansions)
                for token, expansions in stored["table"].items()
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError("The stored abbreviations are not in the form that is read") from error
        if version != 1 or not all(table.values()):
            raise ValueError(f"The stored abbreviations are of version {version}, 1 is read")
        return cls(MappingProxyType(table))


def learn(pairs: Iterable[tuple[str, str]]) -> Abbreviations:
    """Learn abbreviations from true pairs, on top of the table that ships.

    Counted are the pairs whose short text has the token and whose long text has the words but not
    the token. A token stands for words if they meet in at least `MIN_SUPPORT` pairs and
    `MIN_SHARE` of the token's, more often than chance would have it, and the log-likelihood ratio
    is at least `MIN_LIKELIHOOD`. Words that are in nearly every long text therefore cannot be
    learnt. What is learnt of a token stands before what the table says.

    Args:
        pairs: (short text, long text); each is held once as words.
    """
    read = [(frozenset(marked(short)), words(long)) for short, long in pairs]
    token_count: Counter[str] = Counter()
    together: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for tokens, spoken in read:
        short_tokens = [token for token in tokens if _may_be_short(token)]
        token_count.update(short_tokens)
        together.update(_possible(short_tokens, tokens, spoken))
    often = {key: n for key, n in together.items() if n >= MIN_SUPPORT}
    expansion_count = _occurrences([spoken for _, spoken in read], {e for _, e in often})
    found: dict[str, list[tuple[float, Expansion]]] = {}
    for (token, expansion), n in often.items():
        score = likelihood_ratio(n, token_count[token], expansion_count[expansion], len(read))
        if n >= MIN_SHARE * token_count[token] and score >= MIN_LIKELIHOOD:
            found.setdefault(token, []).append((score, Expansion(expansion, n)))
    table = dict(Abbreviations().table)
    for token, scored in found.items():
        scored.sort(key=lambda s: (-s[1].support, -s[0], s[1].words))
        learnt = [expansion for _, expansion in scored[:_MOST]]
        known = {expansion.words for expansion in learnt}
        table[token] = (*learnt, *(e for e in table.get(token, ()) if e.words not in known))
    return Abbreviations(MappingProxyType(table))


def _possible(
    short_tokens: Iterable[str], tokens: Collection[str], spoken: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What each token of a short text may stand for in the words of its long text."""
    distinct = frozenset(spoken)
    by_letter: dict[str, list[str]] = {}
    for word in distinct.difference(tokens):
        by_letter.setdefault(word[0], []).append(word)
    initials = "".join(word[0] for word in spoken)
    for token in short_tokens:
        if token in distinct:
            continue
        for word in by_letter.get(token[0], ()):
            if is_short_for(token, word):
                yield token, (word,)
        place = initials.find(token) if 2 < len(token) <= 5 else -1
        if place >= 0:
            yield token, tuple(spoken[place : place + len(token)])


def _may_be_short(token: str) -> bool:
    bare = token.rstrip("/")
    return bare.isalpha() and (len(bare) >= 2 or bare != token) and len(bare) <= 8


def _occurrences(
    texts: Sequence[tuple[str, ...]], wanted: Collection[tuple[str, ...]]
) -> Counter[tuple[str, ...]]:
    """In how many texts each of the wanted word sequences stands."""
    longest = max(map(len, wanted), default=0)
    counted: Counter[tuple[str, ...]] = Counter()
    for spoken in texts:
        runs = {
            spoken[i : i + n] for n in range(1, longest + 1) for i in range(len(spoken) - n + 1)
        }
        counted.update(runs.intersection(wanted))
    return counted


def is_short_for(token: str, word: str) -> bool:
    """Whether a folded token may abbreviate a folded word.

    It may if it is an `x/` form that begins it; if it begins it and leaves out at least two
    letters; or if it has three letters or more, begins with the word's first, goes on with letters
    of the word in their order, leaves out at least two, and has no vowel between its own first and
    last letter (`cbl`, cable; `mtge`, montage).
    """
    if token.endswith("/"):
        return len(word) > len(token) and word.startswith(token[:-1])
    if len(word) < len(token) + 2 or not word.isalpha():
        return False
    if word.startswith(token):
        return True
    if len(token) < 3 or word[0] != token[0] or _VOWELS.issuperset(token[1:]):
        return False
    letters = iter(word)
    return all(letter in letters for letter in token) and not _VOWELS.intersection(token[1:-1])


def likelihood_ratio(both: int, first: int, second: int, total: int) -> float:
    """Dunning's G² of two things that meet `both` times; 0 if chance would have it as often.

    Args:
        both: cases with both.
        first: cases with the first.
        second: cases with the second.
        total: all cases.
    """
    if both * total <= first * second:
        return 0.0
    cells = (
        (both, first * second),
        (first - both, first * (total - second)),
        (second - both, (total - first) * second),
        (total - first - second + both, (total - first) * (total - second)),
    )
    return 2 * sum(n * math.log(n * total / expected) for n, expected in cells if n > 0)
