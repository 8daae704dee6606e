"""Typed errors of the vault.

Every error changes nothing in the store. Messages hold no personal value: ids and declared names only.
The SQLSTATE codes are raised by the functions in `armonika/store/sql/` (docs/data-model.md).
"""

from __future__ import annotations


class VaultError(Exception):
    """Base of all refusals. `status` is the HTTP status a door answers with, `code` a stable name for RFC 9457 `type`."""

    status = 500
    code = "vault-error"


class SessionEnded(VaultError):
    """The secret names no living session of this door: sign in again (AR401)."""

    status = 401
    code = "session-ended"


class Refused(VaultError):
    """The policy does not allow it, or there is nothing there: one answer for both (AR403, invariant 11)."""

    status = 404
    code = "not-found"


class Forbidden(Refused):
    """No role of this actor may use this purpose, dataset or field at all; says nothing about any person."""

    status = 403
    code = "not-allowed"


class Duplicate(VaultError):
    """A look-up value that must be unique is taken (AR409)."""

    status = 409
    code = "duplicate"


class VersionConflict(VaultError):
    """The value changed since it was read (AR412, RFC 9110 If-Match)."""

    status = 412
    code = "version-conflict"


class Undeclared(VaultError):
    """Dataset, field, purpose or reason is not declared in the policy in force (AR422, claim 1a.1)."""

    status = 422
    code = "undeclared"


class Invalid(VaultError):
    """A value is over-long, holds NUL or lone surrogates, or an unreadable address."""

    status = 422
    code = "invalid-value"


class Restricted(VaultError):
    """Processing of this person is restricted (AR423, claim 8a.5)."""

    status = 423
    code = "restricted"


class Throttled(VaultError):
    """Too many tries. `retry_after` is in seconds."""

    status = 429
    code = "too-many-tries"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyUnavailable(VaultError):
    """This door holds no key that opens the record: wrong door, destroyed epoch, or wrong root key."""

    status = 503
    code = "key-unavailable"


class KeysChanged(VaultError):
    """The epoch that this door wrote under is no longer the active one (AR428). The vault looks again and repeats by itself."""

    status = 503
    code = "keys-changed"


class ClockUntrusted(VaultError):
    """The clock is behind the log, or far ahead of the last run (AR425, AR426): nothing is ended by it (claim 6a.6)."""

    status = 503
    code = "clock-untrusted"


class Tampered(VaultError):
    """A ciphertext or wrapped key does not belong to its place (AAD or tag mismatch)."""

    status = 500
    code = "tampered"


class Unavailable(VaultError):
    """The store does not answer now. Nothing was changed by a read; a write that was not acknowledged may be repeated."""

    status = 503
    code = "store-unavailable"
