"""The report of a campaign: one document for programs, and the same for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.faults import journal
from bench.faults.journal import Happening
from bench.faults.ledger import Account
from bench.faults.processes import LEASE
from bench.faults.work import Result

RECOVERY = LEASE + 10
THROUGHPUT = 0.8


def document(result: Result, *, seed: int, form: str, seconds: float) -> dict[str, Any]:
    """Everything that a campaign found out."""
    happened = [h for h in result.happenings if not h.missed]
    quiet = journal.quiet_kills(result.happenings, RECOVERY)
    kinds = sorted({h.kind for h in result.happenings})
    document = {
        "form": form,
        "seed": seed,
        "seconds": round(seconds),
        "lease_s": LEASE,
        "kills": sum(h.is_kill for h in happened),
        "faults": sum(not h.is_kill for h in happened),
        "by_kind": {kind: _of_kind(kind, result.happenings) for kind in kinds},
        "recovery": {
            "killed worker's chunk": journal.times(quiet),
            "all kills": journal.times([h for h in happened if h.is_kill]),
            "all other faults": journal.times([h for h in happened if not h.is_kill]),
        },
        "ledger": [vars(account) | {"wrong": account.faults} for account in result.accounts],
        **result.facts,
    }
    document["findings"] = [*result.findings, *_shortfalls(document, result.happenings)]
    return document


def passed(document: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled or stale, and every target was reached."""
    return not document["findings"] and not any(one["wrong"] for one in document["ledger"])


def _of_kind(kind: str, happenings: Sequence[Happening]) -> dict[str, Any]:
    mine = [h for h in happenings if h.kind == kind]
    notes = Counter(h.note for h in mine if h.note)
    missed = Counter(h.missed for h in mine if h.missed)
    return {
        "count": sum(not h.missed for h in mine),
        **({"seen": dict(notes)} if notes else {}),
        **({"missed": dict(missed)} if missed else {}),
        "recovery": journal.times([h for h in mine if not h.missed]),
    }


def _shortfalls(document: dict[str, Any], happenings: Sequence[Happening]) -> list[str]:
    found = []
    for one in happenings:
        if one.kind.startswith("zombie") and not one.missed and one.note not in _REFUSED:
            found.append(f"{one.kind}: {one.note or 'nothing shows that its write was refused'}")
        elif any(words in one.note for words in _WRONG):
            found.append(f"{one.kind}: {one.note}")
    found += [
        f"{name} died {n} times by itself"
        for name, n in document.get("deaths_of_their_own", {}).items()
    ]
    if document.get("not_begun"):
        found.append(f"a job did not end; faults not begun: {document['not_begun']}")
    if document["form"] == "short":
        return found  # too few, and beside other tests, to be held to times
    worst = document["recovery"]["killed worker's chunk"]
    if worst and worst["worst_s"] > RECOVERY:
        found.append(f"a killed worker's chunk took {worst['worst_s']} s; the target is {RECOVERY}")
    rates = document.get("throughput")
    if rates and rates["ratio"] < THROUGHPUT:
        found.append(f"throughput under kills is {rates['ratio']}; the target is {THROUGHPUT}")
    return found


_WRONG = ("its pool outlived", "it has the same", "it said", "jobs came of one request")
_REFUSED = ("refused", "its transaction was ended")


def text(document: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        "Fault campaign, {form} form, seed {seed}, {seconds} s".format_map(document),
        f"{document['kills']} kills, {document['faults']} other faults",
        "",
        f"{'fault':<32} {'count':>5}  {'median s':>8}  {'worst s':>8}  seen",
    ]
    for kind, one in document["by_kind"].items():
        times = one["recovery"] or {}
        seen = "; ".join(f"{n} x {words}" for words, n in one.get("seen", {}).items())
        missed = "; ".join(f"{n} missed: {words}" for words, n in one.get("missed", {}).items())
        lines.append(
            f"{kind:<32} {one['count']:>5}  {times.get('median_s', '-'):>8}  "
            f"{times.get('worst_s', '-'):>8}  {'; '.join(filter(None, (seen, missed)))}".rstrip()
        )
    lines += ["", "Recovery (until the victim's chunk, or else the next one, was done):"]
    for name, times in document["recovery"].items():
        if times:
            lines.append(
                f"  {name:<24} {times['count']:>4}  median {times['median_s']} s, "
                f"worst {times['worst_s']} s"
            )
    lines += ["", "Ledger (all but rows and chunks must be 0):"]
    for one in document["ledger"]:
        figures = ", ".join(f"{name} {one[name]}" for name in _COLUMNS)
        lines.append(f"  job {one['job']} {one['state']}: {figures}")
        lines += [f"    progress: {words}" for words in one["progress"]]
    for name in ("undisturbed", "throughput", "sigterm", "poison", *_SURROUNDINGS, "deaths"):
        if name in document:
            lines.append(f"{name}: {document[name]}")
    for name, control in document.get("controls", {}).items():
        verdict = "failed, as it must" if control["failed"] else "PASSED, which must not be"
        lines.append(f"negative control, no {name}: {verdict}: {control['why']}")
    lines += ["", *(f"FINDING: {words}" for words in document["findings"])]
    lines.append("PASSED" if passed(document) else "FAILED")
    return "\n".join(lines) + "\n"


_SURROUNDINGS = ("small_disk", "own_host", "small_memory", "deaths_of_their_own")
_COLUMNS = [f for f in Account.__dataclass_fields__ if f not in ("job", "state", "progress")]
