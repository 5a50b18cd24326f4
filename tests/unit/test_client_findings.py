"""What the command says of a match job that has ended."""

from aparella.client import findings
from aparella.client.models import Job

SINCE = {
    "job": 3,
    "kept": 1_200,
    "matched": 1,
    "unchanged": 1_190,
    "changed": 9,
    "newly_matched": 2,
    "lost": 0,
    "gone": 1,
}


def said(**summary: object) -> list[str]:
    return list(findings.sentences(Job(id=4, kind="match", state="succeeded", summary=summary)))


def test_a_job_that_promised_nothing_says_nothing() -> None:
    assert said(plan={"search": "exact"}) == []
    assert said(accepted=460) == []  # an import of decisions has a figure of that name


def test_what_was_accepted_stands_beside_what_was_expected() -> None:
    accepted = {"accepted": 460, "lines": 538, "share": 0.855, "expected_share": 0.81}
    assert said(accepted=accepted) == [
        "Accepted unseen: 460 of 538 lines (85.5%); about 81% were expected."
    ]


def test_what_has_moved_is_told() -> None:
    kept, firsts = said(since=SINCE)
    assert kept == "Since job 3: 1,200 answers taken over, 1 line matched."
    assert firsts == (
        "First candidates: 1,190 the same, 9 others, 2 of lines that had none, 0 lost; 1 line gone."
    )
    first, *rest = said(since={**SINCE, "all_matched_because": "it had another search"})
    assert first.endswith("it had another search.")
    assert len(rest) == 2
    # The job has not come to its end.
    assert said(since={"job": 3}) == []


def test_what_was_assigned_is_told() -> None:
    found = {"lines": 55, "assigned": 30, "not_their_first": 4, "without": 25, "worth": 21.5}
    (sentence,) = said(one_to_one=found)
    assert "30 lines assigned, 4 of them" in sentence
    assert "25 without" in sentence
