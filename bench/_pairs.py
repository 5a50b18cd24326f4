"""What every benchmark shares: ours and its baseline in turn, and one line a figure.

A machine's speed drifts while a benchmark runs (heat, neighbours). Ours and the baseline are
therefore run as pairs, one straight after the other, and a figure is the median of the pairs'
ratios: what slows one of a pair down slows the other too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median


@dataclass
class Figure:
    """One measured ratio of ours to its baseline.

    Attributes:
        name: what was measured.
        ours: median of our measurements, in `unit`.
        baseline: median of the baseline's measurements, in `unit`.
        unit: unit of both.
        ratios: ours / baseline of each pair.
        target: the least median ratio that is good enough or, where `higher_is_better` is false,
            the greatest.
        higher_is_better: which side of the target is good.
    """

    name: str
    ours: float
    baseline: float
    unit: str
    ratios: list[float]
    target: float
    higher_is_better: bool = True

    @property
    def ratio(self) -> float:
        """Median of the pairs' ratios."""
        return median(self.ratios)

    @property
    def ok(self) -> bool:
        """Whether the median ratio reaches the target."""
        return self.ratio >= self.target if self.higher_is_better else self.ratio <= self.target


def compare(
    name: str,
    ours: Callable[[], float],
    baseline: Callable[[], float],
    *,
    unit: str,
    pairs: int = 5,
    target: float | None = None,
    at_most: float | None = None,
) -> Figure:
    """Measure ours and the baseline in turn.

    Args:
        name: the figure's name.
        ours: runs our side once and returns what it measured, in `unit`.
        baseline: the same of the baseline.
        unit: `texts/s`, `rows/s`, `s` ...
        pairs: how many times each side runs. Every other pair runs the baseline first, so that
            going second is no advantage.
        target: ours / baseline must be at least this ...
        at_most: ... or at most this, where smaller is better. Exactly one of the two is given.

    Raises:
        ValueError: both or neither of `target` and `at_most` are given.
    """
    if target is not None and at_most is None:
        limit, higher_is_better = target, True
    elif at_most is not None and target is None:
        limit, higher_is_better = at_most, False
    else:
        raise ValueError("give either target or at_most")
    measured: list[tuple[float, float]] = []
    for i in range(pairs):
        if i % 2:
            second = baseline()
            measured.append((ours(), second))
        else:
            measured.append((ours(), baseline()))
    return Figure(
        name=name,
        ours=median(a for a, _ in measured),
        baseline=median(b for _, b in measured),
        unit=unit,
        ratios=[a / b for a, b in measured],
        target=limit,
        higher_is_better=higher_is_better,
    )


def _row(f: Figure) -> list[str]:
    # As many decimals as the target has: 1.00 tells nothing of a cosine that must be 0.9999.
    decimals = max(2, len(f"{f.target:g}".partition(".")[2]))
    spread = f"{min(f.ratios):.{decimals}f}–{max(f.ratios):.{decimals}f}"
    return [
        f.name,
        f"{f.ours:,.0f}" if f.ours >= 100 else f"{f.ours:.3g}",
        f"{f.baseline:,.0f}" if f.baseline >= 100 else f"{f.baseline:.3g}",
        f.unit,
        f"{f.ratio:.{decimals}f} ({spread})",
        f"{'≥' if f.higher_is_better else '≤'} {f.target:g}",
        "ok" if f.ok else ("UNDER" if f.higher_is_better else "OVER"),
    ]


def table(figures: Iterable[Figure]) -> list[str]:
    """A heading and one aligned line a figure."""
    rows = [["figure", "ours", "baseline", "unit", "ratio (min–max)", "target", ""]]
    rows += [_row(f) for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
