"""The schedule of the fault campaign: the seed decides all of it, and the kills suffice."""

from collections import Counter

from bench.faults import schedule
from bench.faults.audit import Move
from bench.faults.journal import Happening, finished, quiet_kills


def test_a_seed_decides_everything() -> None:
    drawn = [schedule.draw(8, schedule.FULL, (0.2, 3.0)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != schedule.draw(9, schedule.FULL, (0.2, 3.0))
    assert Counter(event.kind for event in drawn[0]) == Counter(schedule.FULL)
    assert all(0.2 <= event.after <= 3.0 for event in drawn[0])


def test_there_are_as_many_as_promised() -> None:
    assert sum(schedule.KILLS.values()) >= 200
    full = schedule.FULL
    assert (full["redis kill"], full["redis flush"], full["postgres restart"]) == (20, 5, 10)
    assert set(schedule.SHORT) <= set(full)


def move(at: float, chunk: int, new: str) -> Move:
    return Move(at, chunk, 1, None, "leased", new, None)


def test_a_split_chunk_is_done_when_its_last_part_is() -> None:
    moves = {1: [move(1, 1, "split")], 2: [move(5, 2, "done")], 3: [move(3, 3, "split")]}
    assert finished(1, moves, {1: {2, 3}, 3: {4}}) is None
    assert finished(1, {**moves, 4: [move(9, 4, "dead")]}, {1: {2, 3}, 3: {4}}) == 9


def test_a_kill_beside_an_outage_is_not_judged_by_its_time() -> None:
    kill = Happening("kill pool", 100, 100, chunk=1)
    assert quiet_kills([kill, Happening("redis flush", 50, 60)], 14) == [kill]
    assert quiet_kills([kill, Happening("redis kill", 80, 90)], 14) == []
    assert quiet_kills([kill, Happening("postgres restart", 110, 112)], 14) == []
