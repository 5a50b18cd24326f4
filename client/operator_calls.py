"""The client's calls for who looks after a server: workers, queues, pauses, the doctor."""

from urllib.parse import quote

from aparella.client.calls import Calls
from aparella.client.models import Job
from aparella.client.operator_models import Finding, Queue, Worker


class OperatorCalls(Calls):
    """Calls about workers and queues, and about jobs that rest."""

    def workers(self) -> list[Worker]:
        """Workers and reconcilers that are there, and those that vanished within the last hour."""
        return list(self._items(Worker, self._transport.get("/v1/workers")))

    def drain(self, worker: str) -> list[Worker]:
        """Let a worker finish its chunks in hand and take no more.

        Args:
            worker: `NAME@HOST`, or either alone where that means one.
        """
        return self._worker(worker, "drain")

    def undrain(self, worker: str) -> list[Worker]:
        """Let a drained worker take chunks again."""
        return self._worker(worker, "resume")

    def queues(self) -> list[Queue]:
        """The queues, with what waits in them."""
        return list(self._items(Queue, self._transport.get("/v1/queues")))

    def pause_queue(self, name: str) -> Queue:
        """Let a queue rest; chunks in hand finish."""
        return self._queue(name, "pause", repeatable=True)

    def resume_queue(self, name: str) -> Queue:
        """Let a paused queue go on."""
        return self._queue(name, "resume", repeatable=False)

    def pause(self, job_id: int) -> Job:
        """Let a job rest; chunks in hand finish, and nothing is lost."""
        path = f"/v1/jobs/{job_id}/pause"
        return self._read(Job, self._transport.post(path, repeatable=True))

    def resume(self, job_id: int) -> Job:
        """Let a paused job go on."""
        return self._read(Job, self._transport.post(f"/v1/jobs/{job_id}/resume"))

    def doctor(self) -> list[Finding]:
        """What the server found when it looked at all that an operator may have to mend."""
        return list(self._items(Finding, self._transport.get("/v1/doctor")))

    def _worker(self, worker: str, action: str) -> list[Worker]:
        path = f"/v1/workers/{quote(worker, safe='')}/{action}"
        return list(self._items(Worker, self._transport.post(path, repeatable=True)))

    def _queue(self, name: str, action: str, *, repeatable: bool) -> Queue:
        path = f"/v1/queues/{quote(name, safe='')}/{action}"
        return self._read(Queue, self._transport.post(path, repeatable=repeatable))
