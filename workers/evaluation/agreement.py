"""Agreement between people who answered the same questions: its share, and Cohen's kappa."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Agreement:
    """How two people agree.

    Attributes:
        first, second: who.
        lines: that both answered.
        agreed: of these, answered alike.
        share: of `lines`, 0 to 1.
        kappa: Cohen's: 1 is full agreement, 0 what chance would give, given how often each of
            them gives each answer. None where chance alone agrees always: both have given one and
            the same answer throughout.
    """

    first: str
    second: str
    lines: int
    agreed: int
    share: float
    kappa: float | None


def between(first: str, second: str, answers: Sequence[tuple[str, str]]) -> Agreement:
    """The agreement of two people on their common lines, at least one, as (first's, second's)."""
    lines = len(answers)
    agreed = sum(one == other for one, other in answers)
    ones, others = Counter(one for one, _ in answers), Counter(other for _, other in answers)
    chance = sum(count * others[answer] for answer, count in ones.items()) / lines**2
    share = agreed / lines
    kappa = None if chance == 1 else (share - chance) / (1 - chance)
    return Agreement(first, second, lines, agreed, share, kappa)


def pairwise(answers: Iterable[tuple[int, str, str]]) -> list[Agreement]:
    """The agreement of each two people who have lines in common, by their names.

    Args:
        answers: line, person and answer; one answer a person and line.
    """
    by_line: dict[int, dict[str, str]] = defaultdict(dict)
    for line, person, answer in answers:
        by_line[line][person] = answer
    common: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in by_line.values():
        for one, other in combinations(sorted(said), 2):
            common[one, other].append((said[one], said[other]))
    return [between(*people, found) for people, found in sorted(common.items())]
