"""`aparella train`, and `aparella model …`: models trained, judged, promoted, moved and ended."""

import getpass
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from aparella.client import outcome, output, progress, units
from aparella.client.models import Model, ModelDetail
from aparella.client.options import Waiting, uploading
from aparella.client.session import Session, with_session
from aparella.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Look at one model, or act on it.")

Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The model.")]
Exact = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The model's version.")]
Category = Annotated[
    str | None,
    typer.Option(metavar="ATTR", help="Attribute that is a record's category."),
]


@with_session
def train(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name; the version is the next.")],
    pairs: Annotated[list[str], typer.Option(metavar="PAIRS", help="A pair set; repeatable.")],
    preset: Annotated[str, typer.Option(metavar="P", help="Recipe: default or seed.")] = "default",
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="X")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N")] = None,
    hard_negatives: Annotated[int | None, typer.Option(metavar="N", min=0)] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Start from it; if none, the base model."),
    ] = None,
    category: Category = None,
    no_refit: Annotated[
        bool, typer.Option("--no-refit", help="Keep the model without the held-out pairs.")
    ] = False,
    promote_it: Annotated[
        bool, typer.Option("--promote", help="Make it the default if it passes the gate.")
    ] = False,
    wait: Waiting = False,
) -> None:
    """Train a new version of a model on known pairs, and judge it."""
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "hard_negatives": hard_negatives,
    }
    with session.connect() as client:
        job = client.train(
            name,
            pairs,
            preset=preset,
            recipe={key: value for key, value in given.items() if value is not None},
            base=base,
            category=category,
            refit=not no_refit,
            promote=promote_it,
            by=_who(),
        )
        outcome.proceed(session, client, job, wait=wait)


@app.command()
@with_session
def show(session: Session, model: Reference) -> None:
    """Show all that is known of a model."""
    with session.connect() as client:
        found = client.model(model)
    if session.json:
        output.write_json(found)
        return
    for name, value in _facts(found):
        if value:
            session.say(f"{name:9} {value}")


@app.command()
@with_session
def card(session: Session, model: Reference) -> None:
    """Print a model's card, in Markdown."""
    with session.connect() as client:
        text = client.card(model)
    if session.json:
        output.write_json({"model": model, "text": text})
    elif text is None:
        session.say(f"{model} has no card.")
    else:
        for line in text.splitlines():
            session.say(line)


@app.command()
@with_session
def evaluate(
    session: Session,
    model: Reference,
    pairs: Annotated[str, typer.Option(metavar="PAIRS", help="The pair set.")],
    category: Category = None,
    wait: Waiting = False,
) -> None:
    """Judge a model by the held-out part of a pair set, beside the promoted one."""
    with session.connect() as client:
        job = client.evaluate(model, pairs, category=category)
        outcome.proceed(session, client, job, wait=wait)


@app.command()
@with_session
def promote(
    session: Session,
    model: Reference,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the gate is against it; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="WHY", help="Why the gate is overruled; it is kept.")
    ] = None,
    wait: Waiting = False,
) -> None:
    """Make a model the default, once it has passed the gate and its vectors are there."""
    if force and not (reason or "").strip():
        raise InputError("--force needs a reason, which is kept: --reason WHY.", field="reason")
    if reason is not None and not force:
        raise InputError("--reason overrules the gate: say --force too.", field="force")
    with session.connect() as client:
        job = client.promote(model, reason=reason, by=_who())
        outcome.proceed(session, client, job, wait=wait)


@app.command()
@with_session
def rollback(session: Session) -> None:
    """Make the model the default again that was it before."""
    with session.connect() as client:
        _tell(session, client.rollback(by=_who()), "is the default again.")


@app.command()
@with_session
def retire(session: Session, model: Exact) -> None:
    """Drop a model's vectors; promoting it again builds them anew."""
    with session.connect() as client:
        _tell(session, client.retire(model), "is retired: its vectors are gone, its files stay.")


@app.command()
@with_session
def delete(session: Session, model: Exact) -> None:
    """Delete a model: its vectors and its files."""
    with session.connect() as client:
        client.delete_model(model)
    session.say(f"{model} is deleted.")


@app.command()
@with_session
def export(
    session: Session,
    model: Reference,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write, that is not there yet.")
    ],
) -> None:
    """Write a model's folder, which SentenceTransformer(DIR) loads."""
    with (
        session.connect() as client,
        outcome.interruptible(session, f"{folder} was not written"),
        progress.transfer(session.console, f"writing {folder.name}") as bar,
    ):
        client.export_model(model, folder, on_bytes=lambda received: bar(received, None))
    session.say(f"Wrote {folder}. Load it with SentenceTransformer({str(folder)!r}).")


@app.command("import")
@with_session
def import_(
    session: Session,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="That SentenceTransformer.save wrote.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's; the folder's name if none.")
    ] = None,
) -> None:
    """Register a model from elsewhere, as a candidate."""
    with (
        session.connect() as client,
        uploading(session, folder.name) as bar,
    ):
        name = name or folder.resolve().name
        found = client.import_model(folder, name, by=_who(), on_bytes=bar)
    _tell(session, found, f"is registered. Promote it with `aparella model promote {found}`.")


def table(items: Iterable[Model]) -> Table:
    """The models, one a line; the promoted one is marked."""
    rows = (
        (
            "*" if one.status == "promoted" else "",
            str(one),
            one.status,
            one.dim,
            one.max_seq_length,
            one.parent or one.base_model,
            None if one.accuracy is None else f"{one.accuracy:.3f}",
        )
        for one in items
    )
    columns = ("", "model", "status", "dim", "tokens", "from", "acc@1")
    return output.table(columns, rows, right="dim tokens acc@1", fluid="model from")


def _tell(session: Session, model: ModelDetail, sentence: str) -> None:
    if session.json:
        output.write_json(model)
    else:
        session.say(f"{model} {sentence}")


def _facts(model: ModelDetail) -> Iterator[tuple[str, str]]:
    yield "model", str(model)
    yield "status", model.status or ""
    yield "base", model.base_model or ""
    yield "parent", model.parent or ""
    yield "vectors", f"{model.dim} numbers, of up to {model.max_seq_length} tokens"
    yield "cleaner", str(model.cleaner_version or "")
    yield "sha256", model.sha256 or ""
    yield "files", ", ".join(model.files)
    yield "created", units.clock(model.created_at)
    yield "by", model.created_by or ""
    yield "held out", ", ".join(str(fold) for fold in model.held_out)
    for name, value in model.training.items():
        yield name, _flat(value)
    for name, value in model.metrics.items():
        yield name, _flat(value)
    for step in model.promotions:
        who = f" by {step.promoted_by}" if step.promoted_by else ""
        why = f": {step.reason}" if step.reason else ""
        before = f" after {step.previous}" if step.previous else ""
        yield step.kind, f"{units.clock(step.promoted_at)} {step.model}{before}{who}{why}"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_flat(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _who() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return None
