"""The Python client and the `aparella` command: both speak HTTP, like every other client."""

from aparella.client.client import Client

__all__ = ["Client"]
