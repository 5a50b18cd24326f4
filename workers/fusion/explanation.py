"""Why a candidate is the first: what agrees, what contradicts, and which evidence counted."""

from collections.abc import Callable
from typing import Any, TypeAlias

from aparella.workers.features import codes, negations
from aparella.workers.features.agreement import agreement
from aparella.workers.fusion.evidence import FEATURES
from aparella.workers.fusion.facts import Facts
from aparella.workers.fusion.ranker import Vector

Explanation: TypeAlias = dict[str, Any]
"""`agree`: texts that both have; `contradict`: pairs (of the line, of the record); `moved`: pairs
(feature, how much more it added to the first candidate's utility than to the second's)."""

_WORDS = 5
_MOVERS = 3


def explain(line: Facts, record: Facts, idf: Callable[[str], float], lead: Vector) -> Explanation:
    """Explain a first candidate.

    Args:
        line: the query's facts.
        record: the candidate's.
        idf: of a folded word, in the catalogue.
        lead: by feature, how much more it adds to this candidate's utility than to the second's,
            or to it alone if there is no second, (features,).
    """
    code = codes.comparison(line.codes, record.codes)
    measured = agreement(line.measures, record.measures)
    claimed = negations.comparison(line.claims, record.claims)
    stated = [a.text for a, _ in measured.agreeing] + sorted(code.shared)
    known = {text.casefold() for text in stated}
    shared = sorted(line.words & record.words - known, key=lambda word: (-idf(word), word))
    contradict = [[a.text, b.text] for a, b in measured.contradicting]
    contradict += [[word, f"≠ {word}"] for word in sorted(claimed.contradicting)]
    if code.contradicting:
        contradict.append([", ".join(sorted(line.codes)), ", ".join(sorted(record.codes))])
    movers = sorted(zip(lead.tolist(), FEATURES, strict=True), key=lambda m: -abs(m[0]))
    return {
        "agree": [*stated, *shared[:_WORDS]],
        "contradict": contradict,
        "moved": [[name, round(by, 2)] for by, name in movers[:_MOVERS] if abs(by) >= 0.01],
    }
