"""Where the model computes, and with how many threads."""

import torch


def choose_device() -> str:
    """`cuda` where a GPU can be used, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(threads: int = 1) -> None:
    """Set how many threads this process computes with; for encoding and matching alike.

    A worker runs one process per core, so each takes one thread: two processes of one thread
    encode faster than one process of two, and only with a single thread are a text's vectors
    the same bits in each batch.
    """
    torch.set_num_threads(threads)
