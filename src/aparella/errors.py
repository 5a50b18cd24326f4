"""The one tree of errors: every error is transient (try again) or permanent (do not).

Errors are told apart by class, never by their words. `code` is the stable name that the API and
the job's error list show; the sentence says what is wrong, where, and what to do.
"""


class AparellaError(Exception):
    """The root of all errors that Aparella raises on purpose."""

    code = "error"


class TransientError(AparellaError):
    """Trying the same thing again later may succeed: nothing about the work itself is wrong."""

    code = "transient"


class ServiceUnavailableError(TransientError):
    """PostgreSQL, Redis or the artifact store does not answer, or ended the connection."""

    code = "service_unavailable"


class ResourceExhaustedError(TransientError):
    """A disk is full or memory is short; an operator can mend it while the job waits."""

    code = "resource_exhausted"


class BusyError(TransientError):
    """What is to be changed is in use for the moment; its sentence is for the user."""

    code = "busy"


class PermanentError(AparellaError):
    """Trying again cannot help: the input, the request or the set-up must change."""

    code = "permanent"


class InputError(PermanentError):
    """A request or a file is wrong as a whole.

    Attributes:
        field: the parameter, header column or JSON field that is wrong, if there is one.
    """

    code = "invalid"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        if code is not None:
            self.code = code


class NotFoundError(PermanentError):
    """A collection, model or job by that name does not exist."""

    code = "not_found"


class ConflictError(PermanentError):
    """The request contradicts what is already there (an idempotency key used for another body)."""

    code = "conflict"


class RecordError(PermanentError):
    """Something about a chunk's records makes it fail; bisection finds which record it is."""

    code = "record"


class JobError(PermanentError):
    """The job cannot go on at all, whatever its records: it fails at once instead of bisecting.

    Its model's artifact is not the registered one, say.
    """

    code = "job"


class LeaseLostError(PermanentError):
    """Another worker holds the chunk now: this worker's result must not land."""

    code = "lease_lost"


class CancelledError(PermanentError):
    """The job was cancelled while the chunk was in work."""

    code = "cancelled"


class ConfigurationError(PermanentError):
    """A setting, a server's version or a server's policy does not fit; says what to change."""

    code = "configuration"
