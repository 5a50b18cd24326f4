"""What matching has learnt, as numbers that can be read: part of a model's version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from aparella.errors import JobError
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion import confidence, ranker
from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.categories import Categories
from aparella.workers.fusion.confidence import NAMES, Firsts
from aparella.workers.fusion.evidence import FEATURES, Matrix
from aparella.workers.fusion.promise import Trials
from aparella.workers.fusion.ranker import Vector

FILE_NAME = "fusion.json"
_VERSION = 1
_UNWEIGHED = dict.fromkeys(("attributes_agreeing", "attributes_contradicting"), (0.0, 1.0, 0.0))
"""Features that models learnt nothing of until they were added: mean, scale, weight."""


@dataclass(frozen=True)
class Fusion:
    """Weights of the evidence, and how sure the answers are.

    Attributes:
        mean, scale: by which features are standardised, (features,).
        weights: of the standardised features, (features,).
        first_mean, first_scale: by which the evidence of first candidates is, (names,).
        first_weights: of it, the intercept first, (1 + names,).
        abbreviations: learnt from pairs, on top of the common ones.
        categories: what the confidence is corrected by.
        trials: answers to queries that it had not learnt from.
        learnt_from: what it was learnt from, for people.
    """

    mean: Vector
    scale: Vector
    weights: Vector
    first_mean: Vector
    first_scale: Vector
    first_weights: Vector
    abbreviations: Abbreviations = field(default_factory=Abbreviations)
    categories: Categories = field(default_factory=Categories)
    trials: Trials = field(default_factory=Trials)
    learnt_from: Mapping[str, Any] = field(default_factory=dict)

    def standardised(self, features: Matrix) -> Matrix:
        """Features (n, features) in units of their scale."""
        return np.asarray((features - self.mean) / self.scale)

    def utilities(self, features: Matrix) -> Vector:
        """How much speaks for each candidate, (n,); `features` as `evidence.matrix` gives them."""
        return ranker.utilities(self.standardised(features), self.weights)

    def confidences(self, firsts: Firsts, categories: Sequence[str | None] | None = None) -> Vector:
        """Probability that each first candidate is right, (m,); `categories` of them, if known."""
        evidence = (firsts.evidence - self.first_mean) / self.first_scale
        sure = confidence.apply(evidence, self.first_weights)
        return sure if categories is None else self.categories.corrected(sure, categories)

    def contributions(self, features: Matrix) -> Matrix:
        """How much each feature adds to a candidate's utility, (n, features)."""
        return np.asarray(self.standardised(features) * self.weights)

    def shares(
        self,
        candidates: Candidates,
        utility: Vector,
        firsts: Firsts,
        categories: Sequence[str | None] | None = None,
    ) -> Vector:
        """Probability that each candidate is the right one, (n,).

        The first has its confidence. The others share what is left of it in proportion to their
        probability among the candidates, and none has more than in proportion to the first.
        """
        chance = ranker.probabilities(utility, candidates)
        sure = np.empty(candidates.query.max(initial=-1) + 1)
        leading = np.empty_like(sure)
        sure[firsts.query] = self.confidences(firsts, categories)
        leading[firsts.query] = chance[firsts.pair]
        c, p = sure[candidates.query], leading[candidates.query]
        share = np.minimum(c * chance / p, (1 - c) * chance / np.maximum(1 - p, 1e-9))
        share[firsts.pair] = sure[firsts.query]
        return np.asarray(share)

    def to_json(self) -> dict[str, Any]:
        """As JSON knows it; `from_json` reads it back to the bit."""
        return {
            "version": _VERSION,
            "features": _named(FEATURES, self.mean, self.scale, self.weights),
            "first": _named(NAMES, self.first_mean, self.first_scale, self.first_weights[1:]),
            "intercept": float(self.first_weights[0]),
            "abbreviations": self.abbreviations.to_json(),
            "categories": self.categories.to_json(),
            "trials": self.trials.to_json(),
            "learnt_from": dict(self.learnt_from),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Fusion":
        """From what `to_json` gave.

        Raises:
            aparella.errors.JobError: it is of another version or form.
        """
        if stored.get("version") != _VERSION:
            raise JobError(
                f"The model's {FILE_NAME} is of version {stored.get('version')!r}, and "
                f"{_VERSION} is read. Train the model again."
            )
        try:
            mean, scale, weights = _listed(FEATURES, stored["features"])
            first_mean, first_scale, first_weights = _listed(NAMES, stored["first"])
            return cls(
                *(mean, scale, weights, first_mean, first_scale),
                np.concatenate([[float(stored["intercept"])], first_weights]),
                Abbreviations.from_json(stored["abbreviations"]),
                Categories.from_json(stored.get("categories", Categories().to_json())),
                Trials.from_json(stored["trials"]),
                dict(stored["learnt_from"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(
                f"The model's {FILE_NAME} is not one that is read. Train the model again."
            ) from error

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        (folder / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | None) -> "Fusion":
        """That of a model's folder; the default if it has none, or there is no folder.

        Raises:
            aparella.errors.JobError: as `from_json`.
        """
        path = None if folder is None else folder / FILE_NAME
        if path is None or not path.is_file():
            return default()
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise JobError(f"The model's {FILE_NAME} is no JSON. Train the model again.") from error


@cache
def default() -> Fusion:
    """The fusion for models that have learnt none, see docs/matching.md."""
    text = (files(__package__) / "default.json").read_text(encoding="utf-8")
    return Fusion.from_json(json.loads(text))


def _named(
    names: Mapping[str, int] | tuple[str, ...], mean: Vector, scale: Vector, weights: Vector
) -> dict[str, list[float]]:
    rows = np.column_stack([mean, scale, weights]).tolist()
    return dict(zip(names, rows, strict=True))


def _listed(
    names: Mapping[str, int] | tuple[str, ...], stored: Mapping[str, Any]
) -> tuple[Vector, Vector, Vector]:
    known = {**_UNWEIGHED, **stored}
    if set(known) != set(names):
        raise ValueError(f"features {sorted(stored)}")
    mean, scale, weights = np.array([known[name] for name in names], dtype=np.float64).T
    return mean, scale, weights
