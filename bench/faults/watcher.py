"""A client that watches a job, and holds it to its word: progress never goes back."""

import threading

from aparella.client import Client
from aparella.errors import AparellaError
from bench.faults.processes import TOKEN

_LOOK = 0.25


class Watcher:
    """Polls a job's progress in a thread; an API that is away is no matter."""

    def __init__(self, url: str, job: int) -> None:
        self._url = url
        self._job = job
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._wrong: list[str] = []
        self.looks = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(15)

    def trouble(self, state: str | None) -> list[str]:
        """What was wrong; that it was never seen, too, when the job has ended."""
        unseen = ["the client never saw the job"] if state and not self.looks else []
        return unseen + self._wrong[:5]

    def _watch(self) -> None:
        done = handled = 0
        ended = ""
        with Client(self._url, TOKEN, timeout=5) as client:
            while not self._stop.wait(_LOOK):
                try:
                    job = client.job(self._job)
                except AparellaError:
                    continue
                self.looks += 1
                now = job.progress
                if now.done < done or now.done + now.failed < handled:
                    self._wrong.append(f"{now.done} done and {now.failed} failed, after {done}")
                if now.done + now.failed > now.total:
                    self._wrong.append(f"{now.done} + {now.failed} of {now.total}")
                if ended and job.state != ended:
                    self._wrong.append(f"{job.state} after {ended}")
                done, handled = now.done, now.done + now.failed
                ended = job.state if job.finished else ""
