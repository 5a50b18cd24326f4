"""How many messages wait, and how soon the reconciler looks again."""

from aparella.workers.supply import LATEST, LEAST, MOST, SOONEST, Supply, pause


def test_a_queue_that_runs_dry_gets_twice_as_much_up_to_a_bound() -> None:
    supply, seen = Supply(), []
    for _ in range(8):
        supply = supply.after(sent=1, waiting=0)
        seen.append(supply.spare)
    assert seen == [8, 16, 32, MOST, MOST, MOST, MOST, MOST]


def test_what_waits_untouched_becomes_less_down_to_a_bound() -> None:
    supply = Supply(LEAST + 2)
    for _ in range(4):
        supply = supply.after(sent=9, waiting=9)
    assert supply.spare == LEAST


def test_a_queue_for_which_nothing_was_sent_has_not_run_dry() -> None:
    assert Supply().after(sent=0, waiting=0) == Supply()


def test_what_is_taken_at_a_measured_pace_stays_as_it_is() -> None:
    assert Supply(16).after(sent=9, waiting=8) == Supply(16)


def test_the_looks_become_rare_while_nothing_is_taken() -> None:
    assert pause(LATEST, sent=True) == SOONEST
    assert pause(SOONEST, sent=False) == 2 * SOONEST
    assert pause(LATEST, sent=False) == LATEST
