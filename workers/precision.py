"""What a model multiplies on a CPU: float32, or bfloat16 where the processor is made for it.

A processor with instructions for bfloat16 (AVX-512 BF16, AMX) multiplies it at twice the rate of
float32 or more; one without emulates it, and is slower. Sums, attention and everything between the
layers stay float32, and so do the vectors.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""`auto`: bfloat16 where the processor has it and the model's vectors stay the same."""

LEAST_COSINE = 0.99995
"""Of a probe's vector in bfloat16 to that in float32. Other texts lose up to twice as much, and
0.9999 is wanted of all; seen of MiniLM: 0.99998 in the median, 0.99996 at the least."""

PROBES = (
    "XERINGA 150ML P/INJECTOR PRESS DUO ELITE",
    "AGULLA 20G",
    "XERINGUES, XERINGUES PER A INJECTORS ANGIOGRÀFICS, XERINGA CAPACITAT 150ML, ESTÈRIL, 1 ÚS",
    "GUANT NITRIL S/POLS T.M",
    "SONDA FOLEY 2 VIES 16CH SILICONA, BALÓ 10ML, ENVÀS INDIVIDUAL, SENSE LÀTEX",
    "wireless mouse, 2.4 GHz, black",
    "DSC-W120 digital camera 7.2 megapixel with 4x optical zoom and a 2.5 inch display",
    "tijeras quirúrgicas rectas 14 cm acero inoxidable",
    "a",
    "10 x 8 cm; 120 a 180 cm; +/- 5 %",
)
"""Texts that a model is tried with: short and long, in the languages of lists and catalogues."""


def native_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16."""
    import torch

    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def same(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> bool:
    """Whether the probes' vectors, (n, dim) of length 1 both, are the same for all purposes."""
    cosines = np.einsum("ij,ij->i", vectors.astype(np.float64), reference)
    return bool(cosines.min() >= LEAST_COSINE)
