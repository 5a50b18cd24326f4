"""Which of a record's attributes is its category, where nobody has named one."""

from collections.abc import Mapping, Sequence
from typing import Any

ATTRIBUTES = ("category", "categoria", "categoría", "family", "familia", "família")


def category(attributes: Mapping[str, Any], names: Sequence[str] = ATTRIBUTES) -> str | None:
    """A record's category: the first of these attributes that it has."""
    return next((str(attributes[name]) for name in names if attributes.get(name)), None)
