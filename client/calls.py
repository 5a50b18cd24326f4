"""What the client's groups of calls have in common: a connection, and reading of documents."""

import uuid
from collections.abc import Iterator
from typing import Any

from aparella.client.models import AnyDocument, Job
from aparella.client.transport import Transport


class Calls:
    """Calls to one server; `Client` is made of groups of them.

    Attributes:
        _transport: the connection to the server.
    """

    _transport: Transport

    def _submit(self, request: dict[str, Any], idempotency_key: str | None = None) -> Job:
        key = idempotency_key or str(uuid.uuid4())
        document = self._transport.post(
            "/v1/jobs", json=request, headers={"Idempotency-Key": key}, repeatable=True
        )
        return self._read(Job, document)

    def _items(self, kind: type[AnyDocument], page: Any) -> Iterator[AnyDocument]:
        if not isinstance(page, dict) or not isinstance(page.get("items"), list):
            raise self._transport.stranger()
        return (self._read(kind, item) for item in page["items"])

    def _read(self, kind: type[AnyDocument], document: Any) -> AnyDocument:
        try:
            return kind.read(document)
        except (TypeError, ValueError) as error:
            raise self._transport.stranger() from error
