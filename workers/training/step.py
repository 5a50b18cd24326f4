"""How far a training is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step that is done.

    Attributes:
        step: its number, from 1; a resumed run goes on counting.
        steps: how many there will be.
        epoch: times that all pairs have been seen, with the fraction.
        loss: of this step's batch.
        learning_rate: that it was made with.
        pairs_per_second: so far, of this run.
        eta_seconds: until the last step, at the speed so far.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    pairs_per_second: float
    eta_seconds: float
