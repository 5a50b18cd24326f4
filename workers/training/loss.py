"""The loss: rank the right target before all others of the batch."""

import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.model import SentenceTransformer
from torch import Tensor


class RankingLoss(MultipleNegativesRankingLoss):
    """MultipleNegativesRankingLoss over cosines, with weights and shared negatives.

    Plain pairs of weight 1 give the library's value. The mined negatives of one pair are negatives
    of all, except where the target is right for a pair.
    """

    def __init__(self, model: SentenceTransformer, *, scale: float, symmetric: bool) -> None:
        """Make the loss.

        Args:
            model: what is trained.
            scale: what the cosines are multiplied with.
            symmetric: also rank the sources for each target, and average both.
        """
        if symmetric:
            super().__init__(
                model,
                scale=scale,
                directions=("query_to_doc", "doc_to_query"),
                partition_mode="per_direction",
            )
        else:
            super().__init__(model, scale=scale)
        self._symmetric = symmetric

    def of(
        self, sources: Tensor, targets: Tensor, weights: Tensor, hidden: Tensor | None
    ) -> Tensor:
        """The weighted mean of the pairs' losses, a scalar.

        Args:
            sources: (pairs, dim).
            targets: (pairs + negatives, dim); the first are the pairs' right ones.
            weights: (pairs,).
            hidden: bool (pairs, pairs + negatives): targets that count for nothing in a row; None
                hides none.
        """
        pairs = len(sources)
        logits = self.similarity_fct(sources, targets).float() * self.scale
        if hidden is not None:
            logits = logits.masked_fill(hidden, -torch.inf)
        right = torch.arange(pairs, device=logits.device)
        losses = torch.nn.functional.cross_entropy(logits, right, reduction="none")
        if self._symmetric:
            back = torch.nn.functional.cross_entropy(logits[:, :pairs].T, right, reduction="none")
            losses = (losses + back) / 2
        return (losses * weights).sum() / weights.sum()
