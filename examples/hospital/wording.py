"""How the two sides write: the catalogue's long lines and the buyers' short ones."""

import re
from collections.abc import Iterable, Mapping

from vocabulary import PLACEHOLDER, Dice, Item, unaccented

MAX_LENGTH = 45
"""Characters of a buyer's line before its encoding breaks."""

_CHOICE = re.compile(r"\[([^\]]+)\]")
_LONG_LENGTH = re.compile(r"\b([2-9]\d|\d{3})CM\b(?! X)")
_ELISION = re.compile(r"\bDE (?=H?[AEIOUÀÈÉÍÒÓÚ])")
_WORD = re.compile(r"[^\W\d_]+(?:·[^\W\d_]+)?")

_MARKS = {
    "ESTÈRIL": ("ESTÈRIL", "ESTÈRIL", "EST"),
    "NO ESTÈRIL": ("NO ESTÈRIL", "NO ESTÈRIL", "NO EST"),
    "S/LÀTEX": ("S/LÀTEX", "SENSE LÀTEX", "LLIURE DE LÀTEX", "NO LÀTEX"),
    "S/DEHP": ("S/DEHP", "SENSE DEHP", "LLIURE DE FTALATS"),
    "1ÚS": ("1ÚS", "UN SOL ÚS", "D'UN SOL ÚS"),
    "INDIV": ("ENVÀS INDIVIDUAL", "ENV INDIV", "INDIV"),
}
_CATALOGUE_SHORT = (
    ("PER A ", "P/"),
    ("AMB ", "A/"),
    ("SENSE ", "S/"),
    ("LLARGÀRIA ", "LLARG "),
    ("LONGITUD ", "LONG "),
    (r"DIÀMETRE (?=\d)", "Ø "),
    (r"CAPACITAT (?=\d)", "CAP "),
    ("CONNEXIÓ ", "CONN "),
    ("CONNECTOR ", "CONN "),
    ("TRANSPARENT", "TRANSP"),
)

_SPANISH = {
    "XERINGA": "JERINGA",
    "AGULLA": "AGUJA",
    "APOSIT": "APOSITO",
    "FULLA": "HOJA",
    "BOSSA": "BOLSA",
    "GUANT": "GUANTE",
    "GUANTS": "GUANTES",
    "MASCARA": "MASCARILLA",
    "MASCARETA": "MASCARILLA",
    "ULLERES": "GAFAS",
    "TUB": "TUBO",
    "FILTRE": "FILTRO",
    "EQUIP": "EQUIPO",
    "DRENATGE": "DRENAJE",
    "ESPARADRAP": "ESPARADRAPO",
    "BALO": "BALON",
    "GASES": "GASAS",
    "ESCUMA": "ESPUMA",
    "CLAU": "LLAVE",
    "CONTENIDOR": "CONTENEDOR",
    "ELECTRODE": "ELECTRODO",
    "LLANCETA": "LANCETA",
    "BOLQUER": "PAÑAL",
    "MOSTRES": "MUESTRAS",
    "PRESSIO": "PRESION",
    "ASPIRACIO": "ASPIRACION",
    "EXTRACCIO": "EXTRACCION",
    "FIXACIO": "FIJACION",
}
_BRANDS = [
    "ALVERNIX",
    "BRUNALIS",
    "CORVAMED",
    "DELTRIVA",
    "ESKARON",
    "FENDORA",
    "GALVITEX",
    "HERMILON",
    "IBRANTA",
    "JOVARIS",
    "KERTALIS",
    "LUMARESK",
    "MEDOVAR",
    "NURBALIX",
    "OPRIVANT",
    "PELTRANO",
    "QUASTERI",
    "RILVADOR",
    "SORVANEX",
    "TALMERID",
    "URBANTEL",
    "VELTRAMI",
    "WOLTARIX",
    "XANDOMER",
    "YERVALIS",
    "ZUMBRAVA",
]


def official_line(item: Item, variant: Mapping[str, int], dice: Dice) -> str:
    """A variant's line in the catalogue: family, subfamily, article, attributes, marks.

    Whoever wrote a line chose some words freely and shortened others. The same dice for all lines
    of an article make one clerk's habits of it.
    """
    text = PLACEHOLDER.sub(lambda match: item.value(variant, match[1]).official, item.text)
    text = _CHOICE.sub(lambda match: dice.choice(match[1].split("|")), text)
    text = _ELISION.sub("D'", text)
    for word, short in _CATALOGUE_SHORT:
        if dice.chance(0.3):
            text = re.sub(rf"(?<=[ ,]){word}", short, text)
    if dice.chance(0.3):
        text = _LONG_LENGTH.sub(r"\1CM+/-1CM", text)
    if dice.chance(0.3):
        text = re.sub(r", (?!\d)", ",", text)
    marks = ",".join(dice.choice(_MARKS[mark]) for mark in item.marks)
    return f"{item.family}, {item.subfamily}, {text}{dice.choice((', ', '. ', '.', ','))}{marks}"


class Buyers:
    """The people who write the list.

    Args:
        official: the catalogue's lines; its spelling is what accents are restored from.
        dice: their choices.
    """

    def __init__(self, official: Iterable[str], dice: Dice) -> None:
        self._dice = dice
        spellings: dict[str, set[str]] = {}
        for line in official:
            for word in _WORD.findall(line):
                spellings.setdefault(unaccented(word), set()).add(word)
        self._accented = {word: min(forms) for word, forms in spellings.items() if len(forms) == 1}

    def words(self, item: Item, ask: str, variant: Mapping[str, int], official: float) -> str:
        """A wording with this variant's values in one of their spellings.

        Args:
            item: what is asked for.
            ask: the wording.
            variant: which of its variants.
            official: how likely a value is spelt as in the catalogue, if that is short.
        """
        usual = self._dice.chance(0.85)

        def spelt(match: re.Match[str]) -> str:
            value = item.value(variant, match[1])
            if len(value.official) <= 16 and self._dice.chance(official):
                return unaccented(value.official)
            spellings = value.spellings()
            return spellings[0] if usual else self._dice.choice(spellings)

        return PLACEHOLDER.sub(spelt, ask).replace("_", " ")

    def shortened(self, ask: str) -> str:
        """A wording with some of its own words cut or said in Spanish; attributes stay whole."""
        spanish = self._dice.chance(0.15)
        words = []
        for word in ask.split():
            if spanish and word in _SPANISH:
                words.append(_SPANISH[word])
            elif len(word) > 8 and word.isalpha() and self._dice.chance(0.08):
                words.append(word[: self._dice.choice((5, 6))] + ".")
            else:
                words.append(word)
        return " ".join(words)

    def extras(self, item: Item, place: int) -> list[str]:
        """What a line may end with: a brand, always the same few for an article, or a mark."""
        brands = (_BRANDS[place % len(_BRANDS)], _BRANDS[place * 7 % len(_BRANDS)])
        extras = []
        if self._dice.chance(0.15):
            extras.append(self._dice.choice(brands))
        if item.marks[0] == "ESTÈRIL" and self._dice.chance(0.3):
            extras.append("ESTÈRIL")
        if "1ÚS" in item.marks and self._dice.chance(0.15):
            extras.append("1ÚS")
        return extras

    def accented(self, line: str) -> str:
        """The line with the accents that its words have in the catalogue."""
        return _WORD.sub(lambda match: self._accented.get(match[0], match[0]), line)
