"""Settings of the server's processes, read once from the environment by each entry point."""

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aparella.errors import ConfigurationError


def _is_postgresql(url: str) -> bool:
    from sqlalchemy import exc, make_url

    try:
        return make_url(url).drivername in ("postgresql", "postgres", "postgresql+psycopg2")
    except (exc.ArgumentError, ValueError):
        return False


def _with_driver(url: str) -> str:
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg2://" + url.removeprefix(prefix)
    return url


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = (parts.port or 0) >= 0  # reading it raises where it is none
    except ValueError:
        return False
    return fits and parts.scheme in ("redis", "rediss", "unix")


class Settings(BaseSettings):
    """What a process needs to know; built at its entry point and passed on, never global.

    Every field is an environment variable with the prefix `APARELLA_`, except the URLs, which go
    by the names that hosting platforms give them.
    """

    model_config = SettingsConfigDict(env_prefix="APARELLA_", extra="ignore")

    database_url: str = Field(validation_alias="DATABASE_URL", repr=False)
    session_url: str = Field("", validation_alias="DATABASE_SESSION_URL", repr=False)
    """Where `DATABASE_URL` is a pooler's: the server's own URL, for what needs a session.
    Migrations and `aparella report` do; the reconciler is woken sooner by it."""
    redis_url: str = Field("", validation_alias="REDIS_URL", repr=False)

    token: SecretStr | None = None
    """A bearer token of the API that may do everything, beside those of the database. With neither
    it listens on loopback only."""
    anonymous: bool = False
    """Let everybody who can reach this machine's loopback use the API without a token; for
    development. The API then listens nowhere else."""

    artifacts: str = "file:///var/lib/aparella/artifacts"
    """fsspec URL under which models and indexes are kept."""

    encoder: str = "sentence-transformers"
    """`sentence-transformers`, or `hash`: a seeded stand-in that measures the engine alone."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What a model's linear layers multiply on a CPU. `auto`: bfloat16 where the processor has
    instructions for it and the model's vectors stay the same (cosine 0.9999 or more)."""

    log: Literal["text", "json"] = "text"
    """How the processes write their logs: lines for people, or one JSON object a line."""

    threads: int = Field(1, ge=1)
    """Threads of a worker process. One process per core with one thread each is the fastest
    set-up, and makes a vector independent of what else is in its batch; a process that only
    trains wants all cores."""

    lease_seconds: float = 60.0
    """How long a claimed chunk stays with its worker without a heartbeat."""
    heartbeat_seconds: float = 15.0
    progress_seconds: float = 600.0
    """A worker that makes no progress for so long is hung, however well its heart beats."""
    reconcile_seconds: float = 5.0
    """How often the reconciler looks; a notification from PostgreSQL wakes it sooner."""

    keep_jobs_days: int = Field(365, ge=0)
    """Days for which a job that has ended is kept; 0: for ever. Jobs whose matches are the latest
    of a record, or about which somebody has decided, stay in any case."""

    report_seconds: float = Field(5.0, gt=0)
    """How often a worker reports itself, and how long a drain may take to reach it."""

    embed_chunk: int | None = Field(None, ge=1)
    """Distinct texts in a chunk of encoding. None: what a process does in about ten seconds, by
    what the workers have measured; 125 while they have not, which a CPU encodes as fast as 1,000
    at a time."""
    match_chunk: int | None = Field(None, ge=1)
    """Source records in a chunk of matching. None: likewise, up to 2,000."""
    import_chunk: int = Field(20_000, ge=1)
    """Uploaded rows in a chunk of cleaning."""

    match_memory_mb: int = Field(1_024, ge=1)
    """Memory that one worker process may use for what it holds alone: the candidates of a
    one-to-one assignment, or a catalogue's matrix where it cannot be shared."""
    catalogue_memory_mb: int | None = Field(None, ge=1)
    """Memory that the processes of a worker may use together for a catalogue's matrix, which they
    share; larger ones use HNSW. None: as much as `match_memory_mb`."""
    catalogue_folder: str = ""
    """Folder of this machine for the catalogues that its processes share as files. Empty:
    `catalogues` in the cache where models lie that were fetched."""
    catalogue_disk_mb: int = Field(4_096, ge=0)
    """What these may take there in all; 0: none is shared, each process holds its own."""

    fusion_memory_mb: int = Field(1_024, ge=1)
    """Memory that one worker process may use for a catalogue's words; larger ones are matched by
    their vectors alone."""

    index_memory_mb: int = Field(512, ge=1)
    """`maintenance_work_mem` of an index build; a graph that does not fit is built slowly."""

    checkpoint_seconds: float = Field(300.0, gt=0)
    """How often a training saves what it has learnt: a killed one loses at most so much."""

    max_upload_mb: int = Field(4_096, ge=1)
    """Of an uploaded file as it is sent."""
    max_unpacked_mb: int = Field(4_096, ge=1)
    """Of an uploaded file once it is unpacked."""
    max_rows: int = Field(10_000_000, ge=1)
    """Rows of an uploaded file."""
    max_columns: int = Field(1_000, ge=1)
    """Columns of an uploaded file, whether they are read or not."""
    max_cell: int = Field(65_536, ge=1)
    """Characters of one cell: a row with a longer one is refused."""

    uploads_at_once: int = Field(8, ge=1)
    """Files that one token may have in the air; a further one is answered 429 at once."""
    exports_at_once: int = Field(8, ge=1)
    """The same for exports."""
    writes_at_once: int = Field(64, ge=1)
    """The same for all else that changes something, such as enqueueing a job."""
    requests_at_once: int = Field(512, ge=1)
    """Requests that an API process has in hand, whoever sends them."""

    @field_validator("database_url", "session_url", "redis_url")
    @classmethod
    def _is_url(cls, value: str, info: ValidationInfo) -> str:
        """Refuse what libraries would stumble over later, in errors that show parts of it."""
        if info.field_name == "redis_url":
            like, fits = "redis://:PASSWORD@HOST:PORT/0", _is_redis(value)
        else:
            like, fits = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE", _is_postgresql(value)
        if not fits and (value or info.field_name == "database_url"):
            # Without the value: a password may be in it, and may be what is wrong.
            raise ValueError(
                f"it is no URL like {like}. In a password the characters / : @ ? # and % are "
                "written as %2F, %3A, %40, %3F, %23 and %25"
            )
        return value

    pulse: str = ""
    """File that a worker or a reconciler touches while it lives, for health probes: see
    `workers/pulse.py`. Empty: none."""

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL with the driver that Aparella uses (psycopg2) spelt out."""
        return _with_driver(self.database_url)

    @property
    def sqlalchemy_session_url(self) -> str:
        """The same for what needs a session."""
        return _with_driver(self.session_url or self.database_url)


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        aparella.errors.ConfigurationError: `DATABASE_URL` is not set, or a value does not parse.
    """
    if not os.environ.get("DATABASE_URL"):
        raise ConfigurationError(
            "DATABASE_URL is not set. Give the URL of a PostgreSQL with pgvector, or start a "
            "local one with `aparella up`."
        )
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0])
        variable = name if name.isupper() else f"APARELLA_{name.upper()}"
        reason = problem["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"The variable {variable} is wrong: {reason}.") from None
