"""Whole trainings of a tiny model."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from aparella.errors import (
    CancelledError,
    JobError,
    ResourceExhaustedError,
    ServiceUnavailableError,
)
from aparella.workers.training import loop as loops
from aparella.workers.training import preparation
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.pairs import Rejection
from aparella.workers.training.recipe import Recipe, recipe
from aparella.workers.training.trainer import Step, Trained, train
from tests.unit.tiny import some_pairs, tiny_model

STEPS = 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def small(**overrides: Any) -> Recipe:
    """8 steps in 2 epochs of 30 pairs, with dropout: its random numbers must go on as well."""
    return recipe("default", **{"epochs": 2, "batch_size": 8, "dropout": 0.1, **overrides})


def run(
    base: Path,
    folder: Path,
    how: Recipe,
    tick: Callable[[Step], None] = lambda _: None,
    **more: Any,
) -> Trained:
    return train(
        base,
        {"one": some_pairs(30)},
        how,
        out=folder / "out",
        work=folder / "work",
        tick=tick,
        device="cpu",
        threads=1,
        **more,
    )


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "out" / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_and_saves_what_the_library_loads(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[Step] = []
    done = run(base, tmp_path, small(epochs=6, learning_rate=1e-3), steps.append)
    assert capfd.readouterr().out == ""
    assert (done.pairs, done.epochs, done.steps, done.resumed_at) == (30, 6, 24, 0)
    assert [step.step for step in steps] == list(range(1, 25))
    assert {step.steps for step in steps} == {24}
    assert steps[-1].epoch == 6
    assert steps[-1].eta_seconds == 0
    assert steps[0].learning_rate < steps[3].learning_rate > steps[-1].learning_rate > 0
    assert steps[0].loss > 1.3 * done.loss
    files = {path.name for path in done.path.rglob("*") if path.is_file()}
    assert "model.safetensors" in files
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    model = SentenceTransformer(str(done.path), device="cpu")
    assert model.encode(["XERINGA"]).shape == (1, 32)
    assert [path.name for path in tmp_path.iterdir() if path.name != "work"] == ["out"]
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("how", [{}, {"cached_tokens": 512, "batch_size": 30, "epochs": 5}])
def test_two_runs_give_the_same_bits(base: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    for name in ("a", "b"):
        run(base, tmp_path / name, small(**how))
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    run(base, tmp_path / "c", small(**how, seed=1))
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


RESUME = """
import sys
from pathlib import Path
from aparella.workers.training.checkpoints import Checkpoints
from tests.unit.test_training import run, small, weights
base, folder, url, preset = sys.argv[1:]
how = small(hard_negatives=2) if preset == "hard" else small()
done = run(Path(base), Path(folder), how, checkpoints=Checkpoints(url))
print(done.resumed_at, weights(Path(folder)))
"""


@pytest.mark.parametrize(("preset", "stop"), [("plain", 4), ("hard", 5)])
def test_a_run_that_goes_on_elsewhere_gives_the_same_bits(
    base: Path, tmp_path: Path, preset: str, stop: int
) -> None:
    """Step 4 is the end of an epoch."""
    how = small(hard_negatives=2) if preset == "hard" else small()
    run(base, tmp_path / "whole", how)
    url = f"file://{tmp_path}/store"

    def die(step: Step) -> None:
        if step.step > stop:  # the checkpoint of `stop` is the last
            raise KeyboardInterrupt

    class Some(Checkpoints):
        def save(self, folder: Path, step: int) -> None:
            if step <= stop:
                super().save(folder, step)

    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path / "killed", how, die, checkpoints=Some(url), checkpoint_seconds=0)
    assert not (tmp_path / "killed" / "out").exists()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(base), str(tmp_path / "resumed"), url, preset],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        timeout=200,
    )
    assert done.stdout.split() == [str(stop), weights(tmp_path / "whole")]


def test_a_drained_worker_saves_a_checkpoint_and_a_cancelled_job_does_not(
    base: Path, tmp_path: Path
) -> None:
    for error, saved in ((ServiceUnavailableError("drain"), 3), (CancelledError("stop"), 0)):
        checkpoints = Checkpoints(f"file://{tmp_path}/{error}")

        def stop(step: Step, error: Exception = error) -> None:
            if step.step == 3:
                raise error

        with pytest.raises(type(error)):
            run(base, tmp_path / "a", small(), stop, checkpoints=checkpoints)
        assert not (tmp_path / "a" / "out").exists()
        done = run(base, tmp_path / "b", small(), checkpoints=checkpoints)
        assert done.resumed_at == saved


def test_a_checkpoint_of_another_training_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(f"file://{tmp_path}/store")
    run(base, tmp_path / "a", small(), checkpoints=checkpoints, checkpoint_seconds=0)
    assert run(base, tmp_path / "b", small(), checkpoints=checkpoints).resumed_at == STEPS
    other = run(base, tmp_path / "c", small(learning_rate=2e-4), checkpoints=checkpoints)
    assert other.resumed_at == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    checkpoints = Checkpoints(f"file://{tmp_path}/store")
    real = loops.RankingLoss.of
    calls: list[int] = []

    def broken(self: Any, *args: Any) -> Any:
        calls.append(1)
        loss = real(self, *args)
        if len(calls) < 5:
            return loss
        if what == "gradient":
            loss.register_hook(lambda gradient: gradient * float("inf"))
            return loss
        return loss * float("nan")

    monkeypatch.setattr(loops.RankingLoss, "of", broken)
    with pytest.raises(JobError, match=r"step 5; the checkpoint of step 4 is kept. Lower learning"):
        run(base, tmp_path / "a", small(), checkpoints=checkpoints, checkpoint_seconds=0)
    assert not (tmp_path / "a" / "out").exists()
    monkeypatch.undo()
    assert run(base, tmp_path / "b", small(), checkpoints=checkpoints).resumed_at == 4


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (torch.OutOfMemoryError("x"), "Lower cached_tokens"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "Lower cached_tokens"),
        (MemoryError(), "Lower cached_tokens"),
    ],
)
def test_memory_that_runs_out_says_what_to_lower(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    match: str,
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(loops, "embed", full)
    with pytest.raises(ResourceExhaustedError, match=match):
        run(base, tmp_path, small())


def test_too_little_memory_is_said_before_the_first_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation.machine, "memory_free", lambda: 1_000_000)
    with pytest.raises(JobError, match=r"Only 0 MiB are free\. Lower batch_size"):
        run(base, tmp_path, small(), lambda _: pytest.fail("a step was done"))


def test_a_disk_that_is_full_leaves_nothing_half_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Any, path: str, **_: Any) -> None:
        (Path(path) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SentenceTransformer, "save_pretrained", full)
    with pytest.raises(ResourceExhaustedError, match="disk is full"):
        run(base, tmp_path, small())
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert list((tmp_path / "work").iterdir()) == []


def test_the_process_is_left_as_it_was(base: Path, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            dict(os.environ),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
        )

    before = state()
    run(base, tmp_path, small())
    assert state() == before


def test_several_sets_with_rejections_and_a_catalogue(base: Path, tmp_path: Path) -> None:
    pairs = some_pairs(40)
    done = train(
        base,
        {"one": pairs[:30], "two": pairs[30:]},
        small(hard_negatives=2, symmetric=True),
        out=tmp_path / "out",
        work=tmp_path / "work",
        tick=lambda _: None,
        catalogues={"one": [pair.target for pair in pairs] + ["BENA 5CM", "GASA 10X8CM"]},
        rejections={"one": [Rejection(pairs[0].source, "BENA 5CM")]},
        device="cpu",
        threads=1,
    )
    assert done.pairs == 40
    assert done.steps == 2 * (4 + 2)


def test_a_base_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(JobError, match="does not load"):
        run(tmp_path / "base", tmp_path, small())
