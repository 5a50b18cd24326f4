"""The commands of docs/review.md work as shown, on a stack with real workers."""

import csv
import re
import shlex
from pathlib import Path

from tests.acceptance.conftest import ROOT, Stack

PAGE = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ aparella (.*)$", PAGE, re.MULTILINE)


def test_the_commands_of_the_page(stack: Stack, tmp_path: Path) -> None:
    for name, letter, text in (("list", "L", "XERINGA {} ML"), ("catalogue", "C", "XERINGUES {}")):
        rows = [f"{letter}{i},{text.format(i)},{i}" for i in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,name,price", *rows]) + "\n")
        words = ("--key", "id", "--text", "name", "--attribute", "price")
        stack.run("import", f"reviewed-{name}", str(tmp_path / f"{name}.csv"), *words)
    (tmp_path / "decided.csv").write_text("source_key,target_key,verdict\nL1,C1,accept\nL2,,none\n")
    job = stack.json("match", "reviewed-list", "reviewed-catalogue", "--wait")["id"]
    said = []
    # The page's job and collections are those of its reader.
    for command in COMMANDS:
        words = shlex.split(re.sub(r"(--source|--target) ", r"\1 reviewed-", command))
        if words[0] == "review":
            words[1] = str(job)
        elif words[0] == "pairs":
            words[2] = "reviewed"
        said.append(stack.run(*words, cwd=tmp_path, input="1\nn\nq\n").stdout)
    assert len(said) == 7
    assert "2 lines decided; all is stored." in said[0]
    assert "2 lines decided; all is stored." in said[1]
    assert re.search(r"anna +2 +1 +0 +1\n", said[2])
    assert "Imported decided.csv" in said[3]
    with (tmp_path / "kept.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    assert {"accept", "none"} == {row["verdict"] for row in kept}
    assert said[4] == f"Wrote kept.csv: {len(kept)} decisions.\n"
    assert said[5].count("accept") >= 2
    assert re.search(r"Collected \d+ decisions into reviewed: [1-9]", said[6])
