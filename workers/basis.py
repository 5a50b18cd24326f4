"""What a match job's answers hang on, beside the texts: two jobs of one basis answer alike."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aparella import __version__
from aparella.workers.fusion.model import Fusion
from aparella.workers.text import CLEANER_VERSION

_NAMES: Mapping[str, str] = {
    "source_id": "list",
    "collection_id": "catalogue",
    "model_id": "version of the model",
    "k": "number of candidates (-k)",
    "scoring": "scoring",
    "fusion": "fusion",
    "search": "search",
    "encoder": "encoder",
    "cleaner": "version of the cleaner",
    "release": "release of Aparella",
}


def of(
    params: Mapping[str, Any], search: str, fusion: Fusion | None, encoder: str
) -> dict[str, Any]:
    """The basis of a job.

    Args:
        params: of its match stage.
        search: `exact` or `hnsw`.
        fusion: by which evidence is weighed; None: the vectors alone count.
        encoder: the setting.
    """
    return {
        **{name: params[name] for name in ("source_id", "collection_id", "model_id", "k")},
        "scoring": "cosine" if fusion is None else "fused",
        "fusion": None if fusion is None else _digest(fusion),
        "search": search,
        "encoder": encoder,
        "cleaner": CLEANER_VERSION,
        "release": __version__,
    }


def difference(earlier: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str | None:
    """Why an earlier job's answers cannot be taken over, in words; None: they can."""
    if earlier is None:
        return "it was made by a release of Aparella that did not note what its answers hang on"
    others = [name for name, value in now.items() if earlier.get(name) != value]
    if not others:
        return None
    return "it had another " + " and another ".join(_NAMES[name] for name in others)


def _digest(fusion: Fusion) -> str:
    text = json.dumps(fusion.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
