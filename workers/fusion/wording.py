"""An explanation as a line that can be read, in three languages."""

from collections.abc import Mapping
from typing import Any, Literal

Language = Literal["ca", "es", "en"]
LANGUAGES: tuple[Language, ...] = ("ca", "es", "en")

_PHRASES: Mapping[Language, tuple[str, str, str]] = {
    "ca": ("coincideix", "contradiu", "compta"),
    "es": ("coincide", "contradice", "cuenta"),
    "en": ("agrees", "contradicts", "counts"),
}
_EVIDENCE: Mapping[str, tuple[str, str, str]] = {
    "cosine": ("el sentit", "el sentido", "meaning"),
    "letters": ("les lletres", "las letras", "letters"),
    "words": ("les paraules", "las palabras", "words"),
    "joined": ("les paraules", "las palabras", "words"),
    "expanded": ("les abreviatures", "las abreviaturas", "abbreviations"),
    "token": ("les paraules", "las palabras", "words"),
    "first": ("la primera paraula", "la primera palabra", "the first word"),
    "shared": ("el codi", "el código", "the code"),
    "part": ("part del codi", "parte del código", "part of the code"),
    "missed": ("el que falta", "lo que falta", "what is missing"),
    "figures": ("les xifres", "las cifras", "numbers"),
    "agreeing": ("les mesures", "las medidas", "measures"),
    "contradicting": ("les contradiccions", "las contradicciones", "contradictions"),
    "length": ("la llargada", "la longitud", "length"),
    "attributes": ("els atributs", "los atributos", "attributes"),
    "one": ("l'assignació un a un", "la asignación uno a uno", "one-to-one assignment"),
}
"""How the first word of a feature's name is said."""


def sentence(explanation: Mapping[str, Any], language: Language = "en") -> str:
    """One readable line."""
    agrees, contradicts, counts = _PHRASES[language]
    parts = []
    if explanation["agree"]:
        parts.append(f"{agrees}: {', '.join(explanation['agree'])}")
    if explanation["contradict"]:
        pairs = (f"{a} / {b}" for a, b in explanation["contradict"])
        parts.append(f"{contradicts}: {', '.join(pairs)}")
    place = LANGUAGES.index(language)
    said = dict.fromkeys(
        _EVIDENCE[name.split("_")[0]][place] for name, by in explanation["moved"] if by > 0
    )
    if said:
        parts.append(f"{counts}: {', '.join(said)}")
    return "; ".join(parts)
