"""Texts laid end to end as one sequence without padding, for a BERT model on a CPU.

The layers of BERT treat each token by itself, except for attention. So texts of any lengths can
share a batch of the linear layers, and only attention has to keep them apart: it takes the runs
of equally long texts one after the other, without a mask. A text's vector still depends on the
text alone: a matrix product gives a row the same bits whatever the other rows are, as long as
there are at least two, and BERT's tokenizer puts two tokens of its own around each text.

Sentence-transformers and transformers do the same for flash attention on a GPU, and we use their
ways: the lengths travel to the attention as `cu_seq_lens_q`, and the pooling understands them.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, BertModel

ATTENTION = "aparella_packed"
"""The name by which transformers knows `_attention`."""

_ENDS = "cu_seq_lens_q"
"""Where each text ends, counted in tokens from the start of the batch; the first number is 0."""


def packs(model: SentenceTransformer) -> bool:
    """Whether the model is one that `use` can change.

    That is BERT, whose positions start at 0 (RoBERTa's do not) and whose texts see all of
    themselves, with the pooling next to it: other modules look for padded texts.
    """
    bert = getattr(model[0], "model", None)
    return (
        isinstance(bert, BertModel)
        and not bert.config.is_decoder
        and len(model) > 1
        and isinstance(model[1], Pooling)
    )


def use(model: SentenceTransformer) -> None:
    """Make a model take the features of `features` and, from then on, no others."""
    AttentionInterface.register(ATTENTION, _attention)
    transformer: Any = model[0]
    transformer.model.set_attn_implementation(ATTENTION)
    if transformer.model_forward_params is not None:
        transformer.model_forward_params |= {_ENDS}


def features(texts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """What the model takes for a batch of texts, given as their tokens."""
    lengths = torch.tensor([len(tokens) for tokens in texts])
    return {
        "input_ids": torch.tensor([[token for tokens in texts for token in tokens]]),
        "position_ids": torch.cat([torch.arange(n) for n in lengths.tolist()])[None],
        _ENDS: torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
    }


def _attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float,
    **_others: object,
) -> tuple[torch.Tensor, None]:
    """Attention of each text to itself; (1, heads, tokens, size) to (1, tokens, heads, size)."""
    heads, size = query.shape[1], query.shape[3]
    parts: list[torch.Tensor] = []
    start = 0
    lengths = (end - begin for begin, end in pairwise(cu_seq_lens_q.tolist()))
    for length, run in groupby(lengths):
        texts = len(list(run))
        end = start + length * texts
        q, k, v = (
            x[0, :, start:end].view(heads, texts, length, size).transpose(0, 1)
            for x in (query, key, value)
        )
        found = scaled_dot_product_attention(q, k, v, scale=scaling)
        parts.append(found.transpose(1, 2).reshape(-1, heads, size))
        start = end
    return torch.cat(parts)[None], None
