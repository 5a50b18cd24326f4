"""The part of a model's card that tells whether its confidences mean what they say."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WIDTH = 20
"""Characters of the bar that draws a whole."""


def section(fusion: Mapping[str, Any] | None) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        fusion: what a model's version notes of its fusion, see `teaching.summary`; None where
            there is none.
    """
    if fusion is None:
        return
    yield "## Confidence"
    yield ""
    if not fusion.get("learnt"):
        yield (
            "Matches made with this model weigh the evidence by the default fusion: there were too "
            "few pairs to learn from. Nothing is accepted unseen by it."
        )
        yield ""
        return
    yield (
        f"Matches weigh vectors, letters, words and what these state, as {fusion['queries']:,} "
        f"lines with a known answer taught. Their answers, each given without having learnt from "
        f"that line: acc@1 {fusion['acc_1']:.4f}, expected calibration error {fusion['ece']:.4f}."
    )
    yield ""
    yield "| confidence | answers | mean confidence | right | |"
    yield "|---|---|---|---|---|"
    bins: Sequence[Mapping[str, Any]] = fusion["reliability"]
    for place, one in enumerate(bins):
        low, high = place / len(bins), (place + 1) / len(bins)
        if one["count"]:
            bar = "█" * round(_WIDTH * one["right"])
            yield (
                f"| {low:.1f} to {high:.1f} | {one['count']:,} | {one['confidence']:.3f} "
                f"| {one['right']:.3f} | {bar} |"
            )
    yield ""
    if categories := fusion.get("categories"):
        moved = ", ".join(f"{name} {offset:+.2f}" for name, offset in sorted(categories.items()))
        yield f"Corrected by the category of the record, in log-odds: {moved}."
        yield ""
