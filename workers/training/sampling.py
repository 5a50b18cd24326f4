"""Which pairs share a batch, and in which order batches come; the same for a seed and an epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

Keys = NDArray[np.int64]


class GroupAwareSampler:
    """Batches in which no two pairs share a source, a target or a group.

    Otherwise one pair's right target would be counted as another's wrong one. Each epoch places the
    pairs, in a new random order, each in the first batch with room that comes after all batches
    that already hold one of its keys: linear in the pairs, however many share a key. What finds no
    batch is left out of this epoch; that happens where one record has more pairs than there are
    batches. All epochs have the same number of batches.
    """

    def __init__(self, keys: Keys, batch_size: int, seed: int) -> None:
        """Prepare.

        Args:
            keys: int64 (pairs, kinds); two pairs conflict where a column has the same number.
            batch_size: the most pairs in a batch.
            seed: of the order; the epoch's number is added.
        """
        self._keys = _disjoint(keys)
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0
        # A key that fills more than its share of batches would leave them all but empty.
        batches = -(-len(keys) // batch_size)
        for column in keys.T:
            usable = int(np.minimum(np.unique(column, return_counts=True)[1], batches).sum())
            batches = min(batches, max(1, -(-usable // batch_size)))
        self._batches = batches

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch is the next one that is iterated."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in each epoch."""
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        """The epoch's batches: lists of places in `keys`."""
        rng = np.random.default_rng([self._seed, self.epoch])
        order = rng.permutation(len(self._keys)).tolist()
        # Batches of even size: a last one with few pairs would have few negatives.
        room = min(self._batch_size, -(-len(order) // self._batches))
        batches, left = self._place(order, room)
        self._squeeze(batches, left, rng)
        return iter(batches)

    def _place(self, order: list[int], room: int) -> tuple[list[list[int]], list[int]]:
        batches: list[list[int]] = [[] for _ in range(self._batches)]
        # The next batch with room at or after each, with the paths shortened as they are walked.
        following = list(range(self._batches + 1))
        earliest = [0] * (int(self._keys.max()) + 1)
        left = []
        keys = self._keys.tolist()
        for pair in order:
            own = keys[pair]
            place = max(earliest[key] for key in own)
            while following[place] != place:
                following[place] = following[following[place]]
                place = following[place]
            if place == self._batches:
                left.append(pair)
                continue
            batches[place].append(pair)
            for key in own:
                earliest[key] = place + 1
            if len(batches[place]) == room:
                following[place] = place + 1
        return batches, left

    def _squeeze(
        self, batches: list[list[int]], left: list[int], rng: np.random.Generator, tries: int = 8
    ) -> None:
        """Put what found no place into batches below `batch_size`, with a few tries each."""
        if not left:
            return
        held: dict[int, set[int]] = {key: set() for key in np.unique(self._keys[left]).tolist()}
        for place, batch in enumerate(batches):
            for key in self._keys[batch].ravel().tolist():
                if key in held:
                    held[key].add(place)
        places = rng.integers(len(batches), size=(len(left), tries)).tolist()
        for pair, candidates in zip(left, places, strict=True):
            own = self._keys[pair].tolist()
            for place in candidates:
                if len(batches[place]) < self._batch_size and not any(
                    place in held[key] for key in own
                ):
                    batches[place].append(pair)
                    for key in own:
                        held[key].add(place)
                    break


class PlainSampler:
    """The library's default: a random permutation cut into batches, whatever is in them."""

    def __init__(self, pairs: int, batch_size: int, seed: int) -> None:
        self._pairs = pairs
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch is the next one that is iterated."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in each epoch."""
        return -(-self._pairs // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """The epoch's batches; in the first epoch the library's, in its order."""
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        order = torch.randperm(self._pairs, generator=generator).tolist()
        for start in range(0, self._pairs, self._batch_size):
            yield order[start : start + self._batch_size]


class ManySampler:
    """The batches of several sets, each batch from one of them."""

    def __init__(
        self,
        samplers: Sequence[GroupAwareSampler | PlainSampler],
        sizes: Sequence[int],
        *,
        round_robin: bool,
    ) -> None:
        """Prepare.

        Args:
            samplers: one for each set.
            sizes: pairs in each set; a set's pairs are numbered on from those of the sets before.
            round_robin: in turn, until the shortest set is through, as the library does; otherwise
                each set is seen whole, its batches spread evenly over the epoch.
        """
        self._samplers = samplers
        if round_robin:
            shortest = min(len(sampler) for sampler in samplers)
            self._turns = list(range(len(samplers))) * shortest
        else:
            spread = sorted(
                ((i + 0.5) / len(sampler), place)
                for place, sampler in enumerate(samplers)
                for i in range(len(sampler))
            )
            self._turns = [place for _, place in spread]
        self._offsets = [0, *np.cumsum(sizes).tolist()]

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch is the next one that is iterated."""
        for sampler in self._samplers:
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches in each epoch."""
        return len(self._turns)

    def __iter__(self) -> Iterator[list[int]]:
        """The epoch's batches: lists of places in all sets together."""
        iterators = [iter(sampler) for sampler in self._samplers]
        for place in self._turns:
            yield [pair + self._offsets[place] for pair in next(iterators[place])]


def _disjoint(keys: Keys) -> Keys:
    """The same keys numbered from 0 without gaps, no number in two columns."""
    numbered = np.empty_like(keys)
    used = 0
    for place, column in enumerate(keys.T):
        distinct, numbers = np.unique(column, return_inverse=True)
        numbered[:, place] = numbers + used
        used += len(distinct)
    return numbered
