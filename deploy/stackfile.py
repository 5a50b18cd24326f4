"""stack.json: the ports and secrets of a data folder, chosen once and kept across restarts."""

import dataclasses
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aparella.client import datafolder
from aparella.deploy import ports
from aparella.errors import ConfigurationError

API_PORT = 8000


@dataclass(frozen=True)
class Stack:
    """What a data folder's servers listen on and ask for."""

    api_port: int
    postgres_port: int
    valkey_port: int
    postgres_password: str = dataclasses.field(repr=False)
    valkey_password: str = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://{ports.LOOPBACK}:{self.api_port}"

    @property
    def database_url(self) -> str:
        """Where the local PostgreSQL listens, with its password."""
        login = f"aparella:{self.postgres_password}"
        return f"postgresql://{login}@{ports.LOOPBACK}:{self.postgres_port}/aparella"

    @property
    def redis_url(self) -> str:
        """Where the local Valkey listens, with its password."""
        return f"redis://:{self.valkey_password}@{ports.LOOPBACK}:{self.valkey_port}/0"

    @classmethod
    def new(cls) -> Self:
        """Free ports and fresh secrets."""
        api = ports.choose(preferred=API_PORT)
        postgres = ports.choose(avoid=(api,))
        valkey = ports.choose(avoid=(api, postgres))
        password, key, token = (secrets.token_urlsafe(24) for _ in range(3))
        return cls(api, postgres, valkey, password, key, token)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the folder's stack.json; None where there is none.

        Raises:
            ConfigurationError: it is damaged, of another version or not ours to read.
        """
        content = datafolder.read(folder)
        if content is None:
            return None
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = content.get(field.name)
            if type(value) is not field.type:
                raise ConfigurationError(
                    f"{folder / datafolder.STACK_FILE} is damaged: {field.name} is missing or of "
                    "the wrong type. Restore it from a backup, or name another folder with --data."
                )
            values[field.name] = value
        return cls(**values)

    def save(self, folder: Path) -> None:
        """Write stack.json (mode 0600), whole or not at all; the URLs are there for people."""
        content = {
            "version": datafolder.FORMAT,
            **dataclasses.asdict(self),
            "url": self.url,
            "database_url": self.database_url,
            "redis_url": self.redis_url,
        }
        write(folder / datafolder.STACK_FILE, content)


def prepare(
    folder: Path,
    environ: Mapping[str, str],
    *,
    port: int | None = None,
    api: bool = True,
    say: Callable[[str], None],
) -> Stack:
    """The folder's stack, made if there is none, with ports that are free now.

    The API's port is an address that people and scripts have written down, so it never moves by
    itself. The ports of PostgreSQL and Valkey are ours: a taken one is replaced, and said.

    Args:
        folder: the data folder, whose lock is held and whose left-overs are stopped.
        environ: `APARELLA_TOKEN`, if set there, becomes the API's token.
        port: the API's port from now on.
        api: whether the API is to run, so that its port must be free.
        say: shows a line to the user.

    Raises:
        ConfigurationError: the API's port is taken.
    """
    stack = Stack.load(folder) or Stack.new()
    if environ.get("APARELLA_TOKEN"):
        stack = dataclasses.replace(stack, token=environ["APARELLA_TOKEN"])
    if port is not None:
        stack = dataclasses.replace(stack, api_port=port)
    if api and not ports.is_free(stack.api_port):
        raise ConfigurationError(
            f"{ports.taken(stack.api_port)}, so the API cannot listen on it. Stop that, or choose "
            "another port with `aparella up --port PORT`."
        )
    stack = dataclasses.replace(
        stack, postgres_port=_movable("PostgreSQL", stack.postgres_port, stack, say)
    )
    stack = dataclasses.replace(
        stack, valkey_port=_movable("Valkey", stack.valkey_port, stack, say)
    )
    stack.save(folder)
    return stack


def _movable(server: str, port: int, stack: Stack, say: Callable[[str], None]) -> int:
    """The server's port, or another one if that is taken now."""
    # The user may just have given the API the port of one of the others.
    if port != stack.api_port and ports.is_free(port):
        return port
    fresh = ports.choose(avoid=(stack.api_port, stack.postgres_port, stack.valkey_port))
    reason = f"Port {port} is the API's" if port == stack.api_port else ports.taken(port)
    say(f"{reason}: {server} listens on {fresh} from now on.")
    return fresh


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON to a file of mode 0600, whole or not at all.

    Raises:
        OSError: the disk is full, or the folder is not ours.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    aside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
