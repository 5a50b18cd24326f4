import threading

import pytest

from aparella.workers.figures import BUCKETS, Figures, recent, total


def test_sums_of_processes_add_up() -> None:
    one, other = Figures(), Figures()
    one.chunk("embed", 6.0, 125)
    one.chunk("embed", 0.05, 5)
    other.chunk("embed", 7.5, 100)
    other.chunk("match", 4_000.0, 1)
    one.count("retries")
    other.count("retries", 2)
    other.batch(tokens=900, room=1_024)
    sums = total([one.snapshot(), {}, other.snapshot()])
    assert sums["chunks"]["embed"] == {
        "count": 3,
        "seconds": 13.55,
        "items": 230,
        "buckets": {"10": 2, "0.1": 1},
    }
    assert sums["chunks"]["match"]["buckets"] == {"inf": 1}
    assert sums["retries"] == 3
    assert sums["batches"] == {"count": 1, "tokens": 900, "room": 1_024}


def test_a_snapshot_stays_as_it_was() -> None:
    figures = Figures()
    figures.chunk("embed", 1.0, 1)
    before = figures.snapshot()
    figures.chunk("embed", 1.0, 1)
    assert before["chunks"]["embed"]["count"] == 1
    assert figures.snapshot()["chunks"]["embed"]["count"] == 2


def test_nothing_is_lost_between_threads() -> None:
    figures = Figures()

    def work() -> None:
        for _ in range(2_000):
            figures.count("retries")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures.snapshot() == {"retries": 8_000}


def test_a_bound_belongs_to_its_bucket() -> None:
    figures = Figures()
    for bound in BUCKETS:
        figures.chunk("embed", bound, 1)
    assert figures.snapshot()["chunks"]["embed"]["buckets"] == {f"{b:g}": 1 for b in BUCKETS}


@pytest.mark.parametrize(
    ("done", "rates"),
    [
        ([], {}),
        ([("embed", 90.0, 100.0, 600)], {"embed": 10.0}),
        # Half of it lies before the window of 60 s, and so does half of its items.
        ([("embed", 0.0, 80.0, 1_200)], {"embed": 10.0}),
        ([("embed", 95.0, 100.0, 60), ("match", 95.0, 100.0, 120)], {"embed": 1.0, "match": 2.0}),
        ([("embed", 0.0, 39.0, 600)], {}),
        ([("embed", 50.0, 50.0, 60)], {"embed": 1.0}),
    ],
)
def test_the_rate_of_the_last_minute(
    done: list[tuple[str, float, float, int]], rates: dict[str, float]
) -> None:
    assert recent(done, 100.0, 60.0) == rates


def test_a_process_that_has_just_worked_has_a_rate() -> None:
    old, new = Figures(age=3_600.0), Figures(age=20.0)
    for figures in (old, new):
        figures.chunk("embed", 0.5, 600)
    assert old.rates() == {"embed": 10.0}
    assert new.rates()["embed"] == pytest.approx(30.0, rel=0.05)
