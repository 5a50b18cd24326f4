"""How a line and its candidates are shown: side by side where there is room."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from aparella.client import output, progress, units, wording
from aparella.client.review_models import Candidate, Finding, Line, Review

AGREES = "bold green"
SIDE_BY_SIDE = 100
"""Columns of a terminal from which the line stands beside its candidates."""
ATTRIBUTES = 6

KEYS = (
    "number: that one is right · n: none of the catalogue · r: reject all shown · "
    "/text: search · s: skip · u: undo · q: quit    (words after number, n or r are a note)"
)


def line(console: Console, found: Line) -> None:
    """Show a line and its candidates, numbered from 1."""
    console.print()
    if not progress.is_terminal(console):
        console.print(f"{units.printable(found.key)}: {units.printable(found.text)}")
        numbered(console, found.text, found.candidates, 1)
        return
    left = Table.grid()
    left.add_row(Text(found.key, style="bold cyan"))
    left.add_row(_coloured(found.text, *(one.text for one in found.candidates)))
    if found.attributes:
        left.add_row(Text(_attributes(found), style="dim"))
    right = _table(found.text, found.candidates, 1)
    if console.width < SIDE_BY_SIDE:
        console.print(left)
        console.print(right)
        return
    both = Table.grid(padding=(0, 2), expand=True)
    both.add_column(ratio=2)
    both.add_column(ratio=5)
    both.add_row(left, right)
    console.print(both)


def numbered(console: Console, text: str, records: Sequence[Finding], first: int) -> None:
    """Show records to choose from, their numbers beginning with `first`."""
    if not records:
        console.print("  (no candidates)")
    elif progress.is_terminal(console):
        console.print(_table(text, records, first))
    else:
        for number, one in enumerate(records, first):
            cells = (str(number), one.key, one.text, _figure(one), _verdict(one))
            console.print("  " + "  ".join(units.printable(cell) for cell in cells if cell))


def review(found: Review) -> Iterable[RenderableType]:
    """How a review stands, in parts to print one after the other."""
    share = units.percent(found.decided, found.lines)
    yield (
        f"{units.plural(found.lines, 'line')}: {units.count(found.decided)} decided"
        f"{'' if share is None else f' ({share} %)'}, {units.count(found.open)} open, "
        f"{units.count(found.leased)} being looked at, {units.count(found.skipped)} skipped."
    )
    if found.reviewers:
        people = ((r.name, r.lines, r.accepted, r.rejected, r.none) for r in found.reviewers)
        figures = ("lines", "accepted", "rejected", "none")
        yield output.table(("reviewer", *figures), people, right=figures, fluid="reviewer")
    if not found.agreement:
        yield "No line was answered by two people, so there is no agreement to tell of."
        return
    yield (
        f"Agreement: {found.agreed} of {found.compared} answers to the same line are alike "
        f"({100 * found.agreed / found.compared:.0f} %)."
    )
    columns = ("reviewers", "lines", "alike", "share", "kappa")
    rows = (
        (
            f"{one.first}, {one.second}",
            one.lines,
            one.agreed,
            f"{one.share:.2f}",
            "" if one.kappa is None else f"{one.kappa:.2f}",
        )
        for one in found.agreement
    )
    yield output.table(columns, rows, right=" ".join(columns[1:]), fluid="reviewers")


def _table(text: str, records: Sequence[Finding], first: int) -> Table:
    result = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, show_header=False, expand=True)
    result.add_column(justify="right", style="bold", no_wrap=True)
    result.add_column(ratio=1)
    result.add_column(justify="right", no_wrap=True)
    for number, one in enumerate(records, first):
        cell = _coloured(one.text, text)
        cell.append(f"\n{units.printable(one.key)}", style="cyan")
        if verdict := _verdict(one):
            cell.append(f"  {verdict}", style="yellow")
        if one.attributes:
            cell.append(f"  {_attributes(one)}", style="dim")
        result.add_row(str(number), cell, _figure(one))
    return result


def _coloured(text: str, *others: str) -> Text:
    result = Text(units.printable(text))
    for begin, end in wording.shared(text, *others):
        result.stylize(AGREES, begin, end)
    return result


def _attributes(one: Finding | Line) -> str:
    parts = [f"{name} {value}" for name, value in one.attributes.items() if value is not None]
    return units.printable(" · ".join(parts[:ATTRIBUTES]))


def _figure(one: Finding) -> str:
    """The confidence where there is one, else the score."""
    if not isinstance(one, Candidate):
        return ""
    if one.confidence is not None:
        return f"{100 * one.confidence:.0f} %"
    return "" if one.score is None else f"{one.score:.3f}"


def _verdict(one: Finding) -> str:
    if not isinstance(one, Candidate) or one.verdict is None:
        return ""
    word = {"accept": "accepted", "reject": "rejected"}.get(one.verdict, one.verdict)
    return f"({word} by {one.decided_by})"
