"""What a match job says of its answers when it has ended, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from aparella.client import units
from aparella.client.models import Job

SAID = frozenset({"accepted", "since", "one_to_one"})
"""Parts of a job's summary that are told here."""


def sentences(job: Job) -> Iterator[str]:
    """What was accepted unseen, what has moved since an earlier job, what was assigned."""
    told = {name: job.summary.get(name) for name in SAID}
    if isinstance(found := told["accepted"], Mapping) and "lines" in found:
        yield (
            f"Accepted unseen: {units.count(found['accepted'])} of "
            f"{units.plural(found['lines'], 'line')} ({found['share']:.1%}); "
            f"about {found['expected_share']:.0%} were expected."
        )
    if isinstance(found := told["one_to_one"], Mapping):
        yield (
            f"One to one: {units.plural(found['assigned'], 'line')} assigned, "
            f"{units.count(found['not_their_first'])} of them to another than their first "
            f"candidate; {units.count(found['without'])} without, whose candidates others need."
        )
    if isinstance(found := told["since"], Mapping):
        yield from _since(found)


def _since(found: Mapping[str, Any]) -> Iterator[str]:
    if because := found.get("all_matched_because"):
        yield f"All lines were matched again, though job {found['job']} was there: {because}."
    if "kept" not in found:
        return
    count = units.count
    yield (
        f"Since job {found['job']}: {count(found['kept'])} answers taken over, "
        f"{units.plural(found['matched'], 'line')} matched."
    )
    yield (
        f"First candidates: {count(found['unchanged'])} the same, {count(found['changed'])} "
        f"others, {count(found['newly_matched'])} of lines that had none, {count(found['lost'])} "
        f"lost; {units.plural(found['gone'], 'line')} gone."
    )
