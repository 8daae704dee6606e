"""Errors of the client, one class for each type of problem that the API declares (RFC 9457).

Messages hold what the server's problem says, which names declared things and ids only; never a value, a token or a request: words of a server that
repeats what was sent are withheld.
"""

from __future__ import annotations


class ArmonikaError(Exception):
    """Base of everything that this client raises about a call. `retry_after` is in seconds, where the server said it."""

    retry_after: float | None = None


class ConnectionFailed(ArmonikaError):
    """No whole answer came: no connection, a broken one, or a timeout. What was sent may or may not have been done."""


class UnexpectedAnswer(ArmonikaError):
    """An answer that is none of this API's: another server or proxy, or another version. `status` is that of the answer, 0 for a part of one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[UnexpectedAnswer], tuple[str, int]]:
        return type(self), (str(self), self.status)


class Problem(ArmonikaError):
    """The API refused. `status`, `title` and `detail` are those of the problem, `code` is the last part of its type."""

    code = ""

    def __init__(self, status: int, code: str, title: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status, self.code, self.title, self.detail, self.retry_after = status, code, title, detail, retry_after

    def __reduce__(self) -> tuple[type[Problem], tuple[int, str, str, str, float | None]]:
        return type(self), (self.status, self.code, self.title, self.detail, self.retry_after)


class SessionEnded(Problem):
    """401: the token is unknown, ended, or another door's. Take a new one."""

    code = "session-ended"


class NotAllowed(Problem):
    """403: no role of this token may use this purpose, dataset or field at all."""

    code = "not-allowed"


class NotFound(Problem):
    """404: nothing there, or not for this token: unknown, erased and other organisations' people look the same."""

    code = "not-found"


class Duplicate(Problem):
    """409: a value that must be unique is taken."""

    code = "duplicate"


class VersionConflict(Problem):
    """412: a value changed since it was read. Read again, decide again."""

    code = "version-conflict"


class Undeclared(Problem):
    """422: a dataset, field, purpose or reason that the policy in force does not declare."""

    code = "undeclared"


class InvalidValue(Problem):
    """422: a value that cannot be stored."""

    code = "invalid-value"


class IdempotencyKeyReused(Problem):
    """422: the key was used for another request before."""

    code = "idempotency-key-reused"


class Restricted(Problem):
    """423: the processing of this person is restricted."""

    code = "restricted"


class QuotaExceeded(Problem):
    """429: more than this token's quota in a minute. `retry_after` says when the same call fits."""

    code = "quota-exceeded"


class TooManyItems(Problem):
    """413: a batch of more items than the whole quota of a minute. Send smaller ones."""

    code = "too-many-items"


class TooManyTries(Problem):
    """429: too many tries of something that is guarded on its own."""

    code = "too-many-tries"


class Unavailable(Problem):
    """503: the store does not answer for a moment. Nothing was lost."""

    code = "store-unavailable"


class KeyUnavailable(Problem):
    """503: the API holds no key that opens the record."""

    code = "key-unavailable"


class KeysChanged(Problem):
    """503: keys were rotated meanwhile."""

    code = "keys-changed"


class Tampered(Problem):
    """500: what is stored does not belong to its place. Tell the operator."""

    code = "tampered"


class Failed(Problem):
    """500: the vault failed in a way that has no other name."""

    code = "vault-error"


class Rejected(Problem):
    """The request was not of the API's form (400, 404, 405, 413, 415), or the server failed (500)."""

    code = "http"


BY_CODE: dict[str, type[Problem]] = {kind.code: kind for kind in Problem.__subclasses__()}
"""The class of each code; an unknown code is a plain Problem."""
