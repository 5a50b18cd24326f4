"""The pairs of all sets as numbers, and the batches that are made of them."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aparella.errors import InputError
from aparella.workers.training.forward import Parts, cut
from aparella.workers.training.pairs import Rejection, TrainingPair
from aparella.workers.training.recipe import Recipe
from aparella.workers.training.sampling import GroupAwareSampler, ManySampler, PlainSampler
from aparella.workers.training.tokens import Tokens

Integers = NDArray[np.int64]
Sampler = GroupAwareSampler | PlainSampler | ManySampler


@dataclass(frozen=True)
class Batch:
    """What a step takes.

    Attributes:
        parts: the texts: sources, their targets, then negatives.
        pairs: how many pairs.
        weights: float32 (pairs,).
        hidden: bool (pairs, pairs + negatives): targets that are not wrong for a source, and so
            do not count; None hides none.
    """

    parts: Parts
    pairs: int
    weights: Tensor
    hidden: Tensor | None


class Material:
    """All pairs of a training, tokenised once.

    Attributes:
        sources, targets: numbers of the pairs' texts in `tokens`, int64 (pairs,).
        negatives: numbers of wrong targets for each pair, int64 (pairs, any), -1 where none.
    """

    def __init__(self, sets: Mapping[str, Sequence[TrainingPair]], tokens: Tokens) -> None:
        """Tokenise the pairs.

        Raises:
            InputError: a set has fewer than two records to tell apart, or a weight is not over 0.
        """
        for name, pairs in sets.items():
            if len({pair.group for pair in pairs}) < 2:
                raise InputError(
                    f"The pairs of {name!r} are all on one record, or there are none: a model "
                    "learns from the difference between records. Add pairs on others.",
                    field="pairs",
                )
            if not all(0 < pair.weight < float("inf") for pair in pairs):
                raise InputError(
                    f"A pair of {name!r} has a weight that is not over 0. Leave such pairs out.",
                    field="weight",
                )
        if not sets:
            raise InputError("There are no pairs to train on.", field="pairs")
        self.tokens = tokens
        self.sizes = {name: len(pairs) for name, pairs in sets.items()}
        everything = [(name, pair) for name, pairs in sets.items() for pair in pairs]
        self.sources = tokens.add(pair.source for _, pair in everything)
        self.targets = tokens.add(pair.target for _, pair in everything)
        groups: dict[tuple[str, str], int] = {}
        named = [groups.setdefault((name, pair.group), len(groups)) for name, pair in everything]
        self._groups = np.asarray(named, dtype=np.int64)
        self._weights = np.asarray([pair.weight for _, pair in everything], dtype=np.float32)
        self.negatives: Integers = np.empty((len(everything), 0), dtype=np.int64)
        by_source, by_group = defaultdict(set), defaultdict(set)
        for source, group, target in zip(
            self.sources.tolist(), named, self.targets.tolist(), strict=True
        ):
            by_source[source].add(target)
            by_group[group].add(target)
        self.right = [
            frozenset(by_source[source] | by_group[group])
            for source, group in zip(self.sources.tolist(), named, strict=True)
        ]

    def __len__(self) -> int:
        """Pairs."""
        return len(self.sources)

    def slices(self) -> dict[str, slice]:
        """Where each set's pairs are."""
        ends = np.cumsum(list(self.sizes.values())).tolist()
        return {
            name: slice(end - size, end)
            for (name, size), end in zip(self.sizes.items(), ends, strict=True)
        }

    def sampler(self, recipe: Recipe) -> Sampler:
        """The batches of an epoch, as the recipe wants them."""
        keys = np.stack([self.sources, self.targets, self._groups], axis=1)
        samplers: list[GroupAwareSampler | PlainSampler] = []
        for rows in self.slices().values():
            if recipe.batch_sampler == "plain":
                samplers.append(
                    PlainSampler(rows.stop - rows.start, recipe.batch_size, recipe.seed)
                )
            else:
                samplers.append(GroupAwareSampler(keys[rows], recipe.batch_size, recipe.seed))
        if len(samplers) == 1:
            return samplers[0]
        return ManySampler(samplers, list(self.sizes.values()), round_robin=recipe.round_robin)

    def reject(self, rejections: Mapping[str, Sequence[Rejection]], count: int) -> Integers:
        """Known wrong targets of each pair's source, int64 (pairs, count), -1 where none."""
        wrong = np.full((len(self), count), -1, dtype=np.int64)
        for name, rows in self.slices().items():
            of: dict[int, list[int]] = defaultdict(list)
            given = rejections.get(name, ())
            numbers = self.tokens.add(r.target for r in given)
            for source, target in zip(
                self.tokens.add(r.source for r in given).tolist(), numbers.tolist(), strict=True
            ):
                of[source].append(target)
            for row in range(rows.start, rows.stop):
                known = [t for t in of.get(int(self.sources[row]), ()) if t not in self.right[row]]
                wrong[row, : len(known[:count])] = known[:count]
        return wrong

    def batch(self, rows: Sequence[int], budget: int, *, mask: bool) -> Batch:
        """Put a step together.

        Args:
            rows: places of its pairs.
            budget: padded tokens in a part.
            mask: hide targets that are right for a source though they come with another one.
        """
        places = np.asarray(rows, dtype=np.int64)
        targets = self.targets[places]
        more = np.setdiff1d(self.negatives[places], targets)
        more = more[more >= 0]
        columns = np.concatenate([targets, more])
        hidden = None
        if mask:
            place_of = defaultdict(list)
            for place, target in enumerate(columns.tolist()):
                place_of[target].append(place)
            hides = np.zeros((len(rows), len(columns)), dtype=bool)
            for i, row in enumerate(rows):
                for target in self.right[row]:
                    hides[i, place_of.get(target, [])] = True
            np.fill_diagonal(hides, False)
            if hides.any():
                hidden = torch.from_numpy(hides)
        return Batch(
            cut(self.tokens, np.concatenate([self.sources[places], columns]), budget),
            len(rows),
            torch.from_numpy(self._weights[places]),
            hidden,
        )

    def digest(self) -> str:
        """SHA-256 of all that decides the batches: texts, groups, weights, sets."""
        whole = hashlib.sha256(repr(list(self.sizes.items())).encode())
        for array in (self.sources, self.targets, self._groups, self._weights):
            whole.update(array.tobytes())
        whole.update(self.tokens.digest())
        return whole.hexdigest()
