"""Keeps what a training changes of the process from staying changed."""

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState
from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def isolated(threads: int | None) -> Iterator[None]:
    """Random numbers, threads, environment, progress bars and devices as before, whatever happens.

    On a GPU the operators that have a deterministic form use it inside.

    Args:
        threads: that the processor computes with inside; None leaves them.
    """
    environment = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    threads_before = torch.get_num_threads()
    bars = transformers_logging.is_progress_bar_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads != 1 else "false"
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        if threads is not None:
            torch.set_num_threads(threads)
        if gpus:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads_before)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        AcceleratorState._reset_state(True)
        GradientState._reset_state()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
