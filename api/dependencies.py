"""What the routes need of the server: its settings and its connections to the database."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Path, Request

from aparella.api.auth import Caller
from aparella.api.validation import LARGEST_ID
from aparella.settings import Settings


# These are coroutines only so that they do not take a turn in the thread pool.
async def _engine(request: Request) -> sa.Engine:
    engine: sa.Engine = request.app.state.engine
    return engine


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Database = Annotated[sa.Engine, Depends(_engine)]
ServerSettings = Annotated[Settings, Depends(_settings)]
CallerOf = Annotated[Caller, Depends(_caller)]
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
