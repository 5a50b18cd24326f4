"""One person's sitting: lines are shown, answers read and sent at once, until there are none."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from aparella.client import review_screen, units
from aparella.client.client import Client
from aparella.client.review_models import Finding, Line
from aparella.errors import ConflictError, InputError, NotFoundError

_ANSWER = re.compile(r"(?P<choice>\d{1,4}|[nr])(?:\s+(?P<note>\S.*))?")


@dataclass
class Sitting:
    """What a person does in one sitting.

    Args:
        client: of the server.
        job_id: the match job.
        by: the person.
        order: of the lines, as `Client.next_lines` takes it.
        console: where lines are shown.
        read: gives the next answer; None at the end of the input.
        tell: called with each decision, for a machine; None where nobody wants it.
    """

    client: Client
    job_id: int
    by: str
    order: str
    console: Console
    read: Callable[[], str | None]
    tell: Callable[[dict[str, Any]], None] | None = None
    decided: int = 0
    skipped: int = 0
    _done: list[tuple[Line, tuple[int, ...]]] = field(default_factory=list)
    _waiting: list[Line] = field(default_factory=list)
    _target: str = ""
    _source: str = ""

    def run(self, limit: int | None) -> bool:
        """Go through the lines, `limit` of them at most; whatever is not decided is given back.

        Returns:
            Whether no line is left for this person.
        """
        self._say(review_screen.KEYS)
        current: Line | None = None
        try:
            while limit is None or self.decided + self.skipped < limit:
                current = self._next()
                if current is None:
                    return True
                if not self._look_at(current):
                    return False
                current = None
            return False
        finally:
            held = [line.key for line in (*self._waiting, *([current] if current else ()))]
            if held:
                self.client.return_lines(self.job_id, held, by=self.by)

    def _next(self) -> Line | None:
        if self._waiting:
            return self._waiting.pop()
        found = self.client.next_lines(self.job_id, by=self.by, order=self.order)
        self._source, self._target = found.source, found.target
        return found.items[0] if found.items else None

    def _look_at(self, line: Line) -> bool:
        """Show a line and carry out answers until it is dealt with; False to quit."""
        choices: list[Finding] = list(line.candidates)
        review_screen.line(self.console, line)
        while True:
            answer = self.read()
            if answer is None or answer.strip() == "q":
                self._waiting.append(line)
                return False
            try:
                if self._answer(line, choices, answer.strip()):
                    return True
            except (ConflictError, InputError, NotFoundError) as error:
                # A text that an import has just changed, or a record that is gone.
                self._say(str(error))

    def _answer(self, line: Line, choices: list[Finding], answer: str) -> bool:
        """Carry out one answer; whether the line is dealt with for now."""
        if answer.startswith("/"):
            self._search(line, choices, answer[1:].strip())
            return False
        if answer == "s":
            self.client.return_lines(self.job_id, [line.key], by=self.by, skip=True)
            self.skipped += 1
            return True
        if answer == "u":
            return self._undo(line)
        match = _ANSWER.fullmatch(answer)
        if match is None:
            self._say(f"'{answer[:40]}' is no answer. {review_screen.KEYS}" if answer else "")
            return False
        decisions = list(_decisions(line, choices, match["choice"], match["note"]))
        if not decisions:
            self._say(f"There is no number {match['choice']} here: 1 to {len(choices)}.")
            return False
        self._decide(line, decisions)
        return True

    def _decide(self, line: Line, decisions: list[dict[str, Any]]) -> None:
        ids = self.client.decide(
            self._source, self._target, decisions, by=self.by, job_id=self.job_id
        )
        self._done.append((line, ids))
        self.decided += 1
        first = decisions[0]
        if self.tell is not None:
            self.tell({"line": line.key, "decisions": list(ids), **_told(decisions)})
        right = f" {first['target_key']}" if first["verdict"] == "accept" else ""
        word = {"accept": "→", "none": "none of the catalogue"}.get(first["verdict"], "rejected")
        self._say(f"{line.key}: {word}{right}")

    def _undo(self, line: Line) -> bool:
        """Take this sitting's last decision back and show its line again, before this one."""
        if not self._done:
            self._say(
                "Nothing was decided in this sitting: `aparella decisions undo` takes others."
            )
            return False
        before, ids = self._done[-1]
        undo = [{"verdict": "undo", "decision": number} for number in ids]
        self.client.decide(self._source, self._target, undo, by=self.by, job_id=self.job_id)
        self._done.pop()
        self.decided -= 1
        self._say(f"{before.key}: undone")
        self._waiting += [line, before]
        return True

    def _search(self, line: Line, choices: list[Finding], text: str) -> None:
        if not text:
            self._say("Write what to look for after the slash, such as /xeringa 20 ml.")
            return
        shown = {one.key for one in choices}
        found = [one for one in self.client.search(self._target, text) if one.key not in shown]
        if not found:
            self._say(f"Nothing in {self._target} fits '{text}' that is not shown already.")
            return
        review_screen.numbered(self.console, line.text, found, len(choices) + 1)
        choices += found

    def _say(self, text: str) -> None:
        if text:
            self.console.print(units.printable(text), soft_wrap=True)


def _decisions(
    line: Line, choices: list[Finding], choice: str, note: str | None
) -> Iterator[dict[str, Any]]:
    """What an answer decides: nothing for a number that is not there."""
    base = {"source_key": line.key, "source_hash": line.hash, "note": note}
    if choice == "n":
        yield {**base, "verdict": "none"}
        return
    if choice == "r":
        chosen, verdict = choices, "reject"
    else:
        number = int(choice)
        chosen, verdict = choices[max(number - 1, 0) : number], "accept"
    for one in chosen:
        yield {**base, "verdict": verdict, "target_key": one.key, "target_hash": one.hash}


def _told(decisions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "verdict": decisions[0]["verdict"],
        "targets": [one["target_key"] for one in decisions if "target_key" in one],
        "note": decisions[0]["note"],
    }


def answers(console: Console, *, prompt: bool) -> Callable[[], str | None]:
    """What reads the answers: with a prompt and line editing in a terminal, plainly elsewhere."""

    def read() -> str | None:
        if prompt:
            try:
                return input("> ")
            except EOFError:
                console.print()
                return None
        line = sys.stdin.readline()
        return line or None

    return read
