"""What is trained on: pairs that are known to be right, and pairs that are known to be wrong."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A line and the catalogue record that it stands for.

    Attributes:
        source: the line's cleaned text.
        target: the record's cleaned text.
        group: names the record. Pairs of one group are never each other's negatives, nor are pairs
            whose sources or targets have the same text.
        weight: how much the pair's loss counts beside the others of its batch; over 0.
    """

    source: str
    target: str
    group: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line and a record's text that someone has found not to belong together.

    Used as a hard negative of the pairs with the same source, where the recipe has any.
    """

    source: str
    target: str
