"""Each record goes to one line at most, and nobody is told otherwise."""

from fastapi.testclient import TestClient

from aparella.workers.context import Context
from tests.integration import drive
from tests.integration.answers import CATALOGUE, EXACT, LINES, THINGS, ask, fill, found


def test_one_to_one_gives_each_record_once(api: TestClient, context: Context) -> None:
    lines = {**LINES, **{f"D{i}": f"{THINGS[i % 6]} {i}MM" for i in range(15)}}
    fill(context, lines, {f"C{i}": CATALOGUE[f"C{i}"] for i in range(30)})
    plain = ask(api, context, k=4)
    job = ask(api, context, k=4, one_to_one=True)
    rows, before = found(context.db, job.id), found(context.db, plain.id)
    first = [row for row in rows if row[1] == 1]
    targets = [row[2] for row in first]
    assert len(set(targets)) == len(targets)
    assert sorted((row[0], row[2]) for row in rows) == sorted((row[0], row[2]) for row in before)
    taken: set[int] = set()
    answered: set[int] = set()
    greedy = 0.0
    for source, _, target, score, *_ in sorted(before, key=lambda row: -row[3]):
        if source not in answered and target not in taken:
            answered.add(source)
            taken.add(target)
            greedy += score
    assert sum(row[3] for row in first) >= greedy - 1e-3
    said = job.summary["one_to_one"]
    assert said["assigned"] == len(first)
    assert said["assigned"] + said["without"] == said["lines"] == len(lines)
    assert said["without"] > 0
    assert said["not_their_first"] > 0
    exported = api.get(f"/v1/jobs/{job.id}/matches/export", params={"format": "ndjson"}).text
    assert exported.count('"rank": 1,') + exported.count('"rank":1,') == len(first)


def test_one_to_one_accepts_nothing_that_it_moved(api: TestClient, encoding: Context) -> None:
    lines = {f"L{i}": f"{THINGS[i % 6]} {i}MM" for i in range(12)}
    fill(encoding, {**lines, "twin": lines["L3"]}, CATALOGUE)
    job = ask(api, encoding, one_to_one=True)
    rows = [row for row in found(encoding.db, job.id) if row[1] == 1]
    assert len({row[2] for row in rows}) == len(rows) == len(lines) + 1
    moved = [row for row in rows if row[6]["moved"] == [["one_to_one", 1.0]]]
    assert moved
    assert not any(row[5] for row in moved)


def test_memory_bounds_the_assignment(api: TestClient, context: Context) -> None:
    fill(context, LINES, CATALOGUE)
    small = Context(context.db, context.settings.model_copy(update={"match_memory_mb": 0}))
    answer = api.post("/v1/jobs", json={**EXACT, "one_to_one": True})
    drive.until(context, answer.json()["id"], "match", 5)
    drive.run(small)
    job = drive.find(context.db, answer.json()["id"])
    assert job.state == "failed"
    assert "APARELLA_MATCH_MEMORY_MB" in str(job.error)
