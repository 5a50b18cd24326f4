"""Which checkpoint a training goes on from: one of the very same training, and of no other."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aparella.errors import ServiceUnavailableError
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.material import Material
from aparella.workers.training.pairs import Rejection
from aparella.workers.training.recipe import Recipe

log = logging.getLogger(__name__)

_RUN = "run.json"
_NEGATIVES = "negatives.npy"


class Keeper:
    """Saves and finds the checkpoints of one run, and of no other."""

    def __init__(self, checkpoints: Checkpoints | None) -> None:
        self._checkpoints = checkpoints
        self.run = ""
        self.negatives: NDArray[np.int64] | None = None
        self.resumed_at = 0
        self.step = 0

    def save(self, folder: Path, step: int) -> None:
        """Keep a checkpoint; a store that is away for a moment does not end the training."""
        if self._checkpoints is None:
            return
        try:
            (folder / _RUN).write_text(json.dumps({"run": self.run, "step": step}))
            if self.negatives is not None:
                np.save(folder / _NEGATIVES, self.negatives)
            self._checkpoints.save(folder, step)
            self.step = step
        except ServiceUnavailableError as error:
            log.warning("%s. The training goes on; the next one is tried in time.", error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def latest(self, into: Path) -> Path | None:
        """The newest checkpoint, if it is of this run."""
        found = self._checkpoints.latest(into) if self._checkpoints else None
        if found is None:
            return None
        run = json.loads((found / _RUN).read_text())
        if run["run"] != self.run:
            log.warning("The checkpoint is of another training: this one begins anew.")
            return None
        self.resumed_at = self.step = run["step"]
        if (found / _NEGATIVES).is_file():
            self.negatives = np.load(found / _NEGATIVES)
        return found


def fingerprint(
    base: Path,
    recipe: Recipe,
    material: Material,
    catalogues: Mapping[str, Sequence[str]] | None,
    rejections: Mapping[str, Sequence[Rejection]] | None,
) -> str:
    """SHA-256 of all that decides the bits of the result, but for the machine."""
    whole_run = hashlib.sha256(json.dumps(recipe.as_dict(), sort_keys=True).encode())
    whole_run.update(material.digest().encode())
    for file in sorted(base.rglob("*.safetensors")):
        with file.open("rb") as opened:
            whole_run.update(hashlib.file_digest(opened, "sha256").digest())
    if recipe.hard_negatives:
        for name, texts in sorted((catalogues or {}).items()):
            whole_run.update(json.dumps([name, list(texts)]).encode())
        for name, given in sorted((rejections or {}).items()):
            whole_run.update(json.dumps([name, [asdict(r) for r in given]]).encode())
    return whole_run.hexdigest()
