"""`aparella pairs …`: known pairs, imported, listed, collected from decisions, deleted."""

from typing import Annotated

import typer

from aparella.client import outcome, output, units
from aparella.client.models import Collected, PairNotice, PairSet, PairSetDetail, StalePair
from aparella.client.options import Delimiter, Encoding, File, Strict, Waiting, uploading
from aparella.client.session import Session, with_session

NOTICES = 10
FOLDS_HELD_OUT = 2
"""The first folds test; models learn from the others."""

app = typer.Typer(no_args_is_help=True, help="Known pairs, from which models learn.")

PairsName = Annotated[str, typer.Argument(metavar="PAIRS", help="The pair set.")]

_REASONS = {
    "source_changed": "the source's text has changed",
    "target_changed": "the target's text has changed",
    "source_removed": "the source was removed",
    "target_removed": "the target was removed",
}


@app.command("import")
@with_session
def import_(
    session: Session,
    name: PairsName,
    file: File,
    source: Annotated[
        str | None,
        typer.Option(metavar="S", help="Collection of the source keys; if none, FILE has texts."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="T", help="Collection of the target keys; if none, FILE has texts."),
    ] = None,
    source_column: Annotated[
        str | None, typer.Option(metavar="COL", help="If not source_key, or source_text.")
    ] = None,
    target_column: Annotated[
        str | None, typer.Option(metavar="COL", help="If not target_key, or target_text.")
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    strict: Strict = False,
    wait: Waiting = True,
) -> None:
    """Add known pairs from a file: source_key, target_key, and label and weight if there are.

    A label of 0 says that the two are known not to belong together. Pairs are never removed by an
    import: a row that is there already is counted as unchanged.
    """
    with session.connect() as client:
        with uploading(session, file.name) as show:
            job = client.import_pairs(
                name,
                file,
                source=source,
                target=target,
                source_column=source_column,
                target_column=target_column,
                delimiter=delimiter,
                encoding=encoding,
                strict=strict,
                on_bytes=show,
            )
        outcome.proceed(session, client, job, wait=wait)


@app.command("list")
@with_session
def list_(session: Session) -> None:
    """List the pair sets."""

    def as_table(items: list[PairSet]) -> object:
        rows = (
            (
                one.name,
                _collections(one),
                units.count(one.pairs),
                units.count(one.rejected),
                units.count(one.held_out),
                units.clock(one.updated_at),
            )
            for one in items
        )
        columns = ("name", "collections", "pairs", "rejected", "held-out", "updated")
        right = "pairs rejected held-out"
        return output.table(columns, rows, right=right, fluid="name collections")

    with session.connect() as client:
        session.list(client.pair_sets(), as_table)


@app.command()
@with_session
def show(session: Session, name: PairsName) -> None:
    """Show a pair set: what it holds, how it is split, and what of it is stale."""
    with session.connect() as client:
        found = client.pair_set(name)
    if session.json:
        output.write_json(found)
        return
    for word, value in _facts(found).items():
        session.say(f"{word:12} {value}")
    session.console.print()
    session.console.print(_folds(found))
    if found.stale:
        session.say(
            f"{units.plural(found.stale, 'pair')} out of date, which neither train nor test until "
            "they are imported or collected again:"
        )
        for pair in found.stale_pairs:
            session.say(f"  {_stale(pair)}")
        if found.stale > len(found.stale_pairs):
            session.say(f"  … and {units.count(found.stale - len(found.stale_pairs))} more")


@app.command()
@with_session
def collect(
    session: Session,
    name: PairsName,
    source: Annotated[str, typer.Option(metavar="S", help="Collection that was matched.")],
    target: Annotated[str, typer.Option(metavar="T", help="Catalogue that it was matched with.")],
) -> None:
    """Make pairs of people's decisions: accepted matches belong together, rejected ones do not.

    The newest decision counts, also against what a file says.
    """
    with session.connect() as client:
        found = client.collect_pairs(name, source=source, target=target)
    if session.json:
        output.write_json(found)
        return
    session.say(_collected(found))
    for notice in found.notices[:NOTICES]:
        session.say(f"  {_notice(notice)}")
    if found.noticed > NOTICES:
        more = units.count(found.noticed - NOTICES)
        session.say(f"  … and {more} more: with --json they are listed.")


@app.command()
@with_session
def delete(session: Session, name: PairsName) -> None:
    """Delete a pair set, with the evaluations on it; models trained on it stay."""
    with session.connect() as client:
        client.delete_pairs(name)
    if session.json:
        output.write_json({"name": name, "deleted": True})
    else:
        session.say(f"The pair set {name} is deleted.")


def _collections(one: PairSet) -> str:
    return f"{one.source} → {one.target}" if one.source else "(texts)"


def _facts(found: PairSetDetail) -> dict[str, str]:
    return {
        "name": found.name,
        "collections": _collections(found),
        "pairs": units.count(found.pairs),
        "rejected": f"{units.count(found.rejected)} (known not to belong)",
        "decided": f"{units.count(found.decided)} (by people)",
        "held out": f"{units.count(found.held_out)} (to test with)",
        "left out": f"{units.count(found.left_out)} (would leak between training and test)",
        "stale": units.count(found.stale),
        "created": units.clock(found.created_at),
        "updated": units.clock(found.updated_at),
    }


def _folds(found: PairSetDetail) -> object:
    rows = (
        (fold, "test" if fold < FOLDS_HELD_OUT else "train", units.count(pairs))
        for fold, pairs in enumerate(found.folds)
    )
    return output.table(("fold", "part", "pairs"), rows, right="fold pairs")


def _stale(pair: StalePair) -> str:
    reason = _REASONS.get(pair.reason, pair.reason)
    return f"{pair.source_key} → {pair.target_key}: {reason}"


def _collected(found: Collected) -> str:
    counts = ", ".join(
        f"{units.count(getattr(found, name))} {name.replace('_', ' ')}"
        for name in ("new", "changed", "unchanged", "rejected", "conflicts", "left_out")
    )
    return f"Collected {units.plural(found.decisions, 'decision')} into {found.name}: {counts}."


def _notice(notice: PairNotice) -> str:
    return f"{notice.source_key} → {notice.target_key}: {notice.message}"
