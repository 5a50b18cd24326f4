"""What a text says that a thing is without or is not, and what it says that it has or is.

`S/LATEX`, `SENSE LÀTEX`, `sin látex`, `latex free` and `lliure de làtex` all deny `latex`;
`NO ESTÈRIL` and `unsterile` deny `esteril`.

The rule for stems, so that the three languages meet: accents and case go, then a plural `s` or
`es`, then a final vowel; the first eight letters stay. A small table joins what is then still
written differently (`sterile` and `estèril`).
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from aparella.workers.features.words import fold

_TOKEN = re.compile(r"w/o(?![^\W_])|[^\W\d_]+|\d+|[/,;:.()]|['’]")

_SHORT = frozenset({"s"})
_OF = frozenset({"free"})
_WITHOUT = _SHORT | {"sense", "sin", "without", "w/o"}
_NOT = frozenset({"no", "non", "not"})
_FREE = frozenset(
    {"lliure", "lliures", "libre", "libres", "exempt", "exempta", "exento", "exenta"}
) | {"free"}
_SKIPPED = frozenset(
    {"de", "d", "del", "dels", "la", "el", "l", "les", "els", "los", "las", "of", "any", "cap"}
)
_AND = frozenset({"ni", "o", "or", "nor"})
_ALSO_AND = frozenset({"i", "y", "e", "and"})
"""These, and a slash, join a denied word only if goods are usually free of it: `sense làtex i
ftalats`, `S/LÀTEX/PVC`, but not `sense làtex i estèril`."""

_SAME = {
    "esteril": "esteril est ester steril sterile",
    "latex": "latex lat",
    "ftalat": "ftalat phthalat phtalat dehp",
    "pols": "pols polv powder",
    "agull": "agull aguj needl",
    "filtr": "filtr filter",
    "valvul": "valvul valv",
    "balo": "balo balon balloon",
    "absorbibl": "absorbib absorbab reabsorb",
    "reutiliz": "reutilit reutiliz reusabl reusab",
    "adhesiu": "adhesiu adhesiv",
    "fil": "fil hil wir",
    "alcohol": "alcohol",
    "perfum": "perfum fraganci fragranc",
    "sucr": "sucr azucar sugar",
    "gluten": "gluten",
    "lactos": "lactos",
    "silicon": "silicon",
    "toxic": "toxic",
    "segureta": "segureta segurida safety",
    "tap": "tap tapon",
    "plom": "plom plomo",
    "fulla": "full hoj blad",
    "color": "color colour",
    "olor": "olor odor odour",
}
"""Attributes of goods, by the stem that stands for them: what the three languages write."""

_USUALLY_FREE_OF = frozenset(
    {"latex", "ftalat", "pvc", "bpa", "pols", "gluten", "lactos", "paraben", "perfum", "alcohol"}
    | {"sucr", "silicon", "plom", "halogen", "olor", "color"}
)
_WOVEN = frozenset({"teixir", "teixit", "tejer", "tejido", "woven"})
_UN = {"unsterile": "esteril", "nonsterile": "esteril", "nonwoven": "woven", "tst": "woven"}
_UN |= {"nonabsorbable": "absorbibl", "nonadhesive": "adhesiu", "unscented": "perfum"}
_CANONICAL = {form: stem for stem, forms in _SAME.items() for form in forms.split()}


_JOINING = (
    _WITHOUT | _NOT | _FREE | _AND | _ALSO_AND | _UN.keys() | {"amb", "con", "with", "a", "p"}
)
"""What begins something new after a denied word."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Stems of what a text says.

    Attributes:
        denied: what it says that the thing is not or is without.
        affirmed: its other words.
    """

    denied: frozenset[str]
    affirmed: frozenset[str]


@dataclass(frozen=True, slots=True)
class NegationComparison:
    """Stems on which two texts agree that the thing is without them, or contradict each other.

    Attributes:
        agreeing: denied by both.
        contradicting: denied by one and affirmed by the other, and by neither both.
    """

    agreeing: frozenset[str]
    contradicting: frozenset[str]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a folded word, see the rule above."""
    short = word
    if len(short) > 4 and short.endswith("es"):
        short = short[:-2]
    elif len(short) > 3 and short.endswith("s") and not short.endswith("ss"):
        short = short[:-1]
    if len(short) > 3 and short[-1] in "aeo":
        short = short[:-1]
    short = short[:8]
    return _CANONICAL.get(word) or _CANONICAL.get(short) or short


def claims(text: str) -> Claims:
    """What a text denies and what it affirms."""
    tokens = _TOKEN.findall(fold(text))
    denied: set[str] = set()
    affirmed: set[str] = set()
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if not token[0].isalpha():
            place += 1
        elif token in _UN:
            denied.add(_UN[token])
            place += 1
        elif first := _denial(tokens, place):
            place = _past_complement(tokens, _deny(tokens, first, denied))
        elif tokens[place + 1 : place + 2] == ["free"] and len(token) > 2:
            denied.add(_denied_stem(token))
            place += 2
        else:
            affirmed.add(stem(token))
            place += 1
    return Claims(frozenset(denied), frozenset(affirmed))


def negations(text: str) -> frozenset[str]:
    """The stems that a text denies."""
    return claims(text).denied


def comparison(first: Claims, second: Claims) -> NegationComparison:
    """Compare what two texts claim. Symmetric; a text never contradicts itself.

    A text that both denies and affirms a word (`CÀNULES AMB BALÓ I SENSE BALÓ`) contradicts
    nobody about it.
    """
    if not first.denied and not second.denied:
        return _NOTHING
    agreeing = first.denied & second.denied
    mine, yours = first.denied - agreeing, second.denied - agreeing
    if mine and yours:
        agreeing |= {short for short in mine if _begins(short, yours, _AGREE_FROM)}
        agreeing |= {short for short in yours if _begins(short, mine, _AGREE_FROM)}
    return NegationComparison(
        agreeing,
        frozenset(_contradicted(first, second) | _contradicted(second, first)) - agreeing,
    )


_AGREE_FROM, _CONTRADICT_FROM = 3, 5
"""Letters from which on a stem may be an abbreviation of one of the other text."""


def _begins(short: str, stems: frozenset[str], letters: int) -> bool:
    return len(short) >= letters and any(other.startswith(short) for other in stems)


def _contradicted(one: Claims, other: Claims) -> set[str]:
    """What the one denies and the other affirms, each of them clearly."""
    affirmed = other.affirmed - other.denied
    return {
        denied
        for denied in one.denied - one.affirmed - other.denied
        if denied in affirmed
        or (denied not in _SAME and _begins(denied, affirmed, _CONTRADICT_FROM))
    }


_NOTHING = NegationComparison(frozenset(), frozenset())


def _denial(tokens: list[str], place: int) -> int:
    """The place of the word that a denial at `place` denies, 0 if there is no denial.

    `s` denies only before a slash, `no` not before a number or a mark (`no. 5`).
    """
    token, ahead = tokens[place], place + 1
    if token not in _WITHOUT and token not in _NOT and token not in _FREE:
        return 0
    if token in _OF and tokens[ahead : ahead + 1] != ["of"]:
        return 0
    if token in _SHORT:
        if tokens[ahead : ahead + 1] != ["/"]:
            return 0
        ahead += 1
        if tokens[ahead : ahead + 1] == ["l"]:  # S/L, the usual short form of without latex
            return ahead
    while ahead < len(tokens) and (tokens[ahead] in _SKIPPED or tokens[ahead] in {"'", "’"}):
        ahead += 1
    if ahead >= len(tokens) or not tokens[ahead][0].isalpha() or len(tokens[ahead]) < 2:
        return 0
    return ahead


def _deny(tokens: list[str], place: int, denied: set[str]) -> int:
    """Add the denied word at `place` and those listed after it; gives the place behind them."""
    while True:
        word = "latex" if tokens[place] == "l" else tokens[place]
        denied.add(_denied_stem(word))
        mark, following = tokens[place + 1 : place + 2], tokens[place + 2 : place + 3]
        if not mark or not following or not following[0][0].isalpha() or len(following[0]) < 2:
            return place + 1
        free = stem(following[0]) in _USUALLY_FREE_OF
        if not (mark[0] in _AND or (free and (mark[0] in _ALSO_AND or mark[0] == "/"))):
            return place + 1
        place += 2


def _past_complement(tokens: list[str], place: int) -> int:
    """The place behind what belongs to the denied word.

    `DE SEGURETAT` in `sense mecanisme de seguretat`, `PEEP` in `sense vàlvula PEEP`. Whether the
    text denies that too cannot be told, so it neither denies nor affirms it.
    """
    if tokens[place : place + 1] and tokens[place] in {"de", "d", "of"}:
        ahead = place + 1
        while ahead < len(tokens) and (tokens[ahead] in _SKIPPED or tokens[ahead] in {"'", "’"}):
            ahead += 1
        if ahead < len(tokens) and tokens[ahead].isalpha():
            return ahead + 1
    elif tokens[place : place + 1] and tokens[place].isalpha():
        apart = stem(tokens[place]) in _SAME or tokens[place] in _JOINING
        return place if apart else place + 1
    return place


def _denied_stem(word: str) -> str:
    """`sense teixir` and `no tejido` are both `woven`, which a woven thing is not called."""
    return "woven" if word in _WOVEN else stem(word)
