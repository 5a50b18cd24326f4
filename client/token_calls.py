"""The client's calls about tokens; they need one of the scope admin."""

from typing import Literal
from urllib.parse import quote

from aparella.client.calls import Calls
from aparella.client.models import NewToken, Token


class TokenCalls(Calls):
    """Calls about tokens."""

    def tokens(self) -> list[Token]:
        """All tokens, revoked ones too, oldest first; none of them with its secret."""
        return list(self._items(Token, self._transport.get("/v1/tokens")))

    def create_token(self, name: str, scope: Literal["read", "submit", "admin"]) -> NewToken:
        """Make a token; its secret is in the answer and cannot be had again.

        Args:
            name: by which it is listed and revoked.
            scope: what it allows; each allows what those before it do.
        """
        request = {"name": name, "scope": scope}
        return self._read(NewToken, self._transport.post("/v1/tokens", json=request))

    def revoke_token(self, name: str) -> None:
        """End a token; the server takes it for two seconds more at most."""
        self._transport.delete(f"/v1/tokens/{quote(name, safe='')}")
