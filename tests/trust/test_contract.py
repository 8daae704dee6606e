"""What other parts rely on by name and number: status and code of each error, and the defaults of what goes into the vault."""

from __future__ import annotations

import gc
from typing import get_args
from uuid import UUID

import pytest

from armonika.trust.vault import AsyncVault, Unverified, Vault, errors, new_secret, secret_hash, vault
from armonika.trust.vault.types import Ask, Find, NewRecord, Origin, Outcome, Record, SecretHash

TABLE = {
    errors.VaultError: (500, "vault-error"), errors.SessionEnded: (401, "session-ended"), errors.Refused: (404, "not-found"), errors.Forbidden: (403, "not-allowed"),
    errors.Duplicate: (409, "duplicate"), errors.VersionConflict: (412, "version-conflict"), errors.Undeclared: (422, "undeclared"), errors.Invalid: (422, "invalid-value"),
    errors.Restricted: (423, "restricted"), errors.Throttled: (429, "too-many-tries"), errors.KeyUnavailable: (503, "key-unavailable"), errors.KeysChanged: (503, "keys-changed"),
    errors.Tampered: (500, "tampered"), errors.Unavailable: (503, "store-unavailable"), errors.ClockUntrusted: (503, "clock-untrusted"), vault.Unverified: (403, "address-not-verified"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLE)
def test_each_error_has_its_status_and_code(kind: type[errors.VaultError]) -> None:
    assert (kind.status, kind.code) == TABLE[kind]
    assert issubclass(kind, errors.VaultError)


def test_every_error_is_in_the_table() -> None:
    declared = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.VaultError)}
    assert declared | {vault.Unverified} == set(TABLE)


def test_an_error_says_how_long_to_wait() -> None:
    assert errors.Throttled("slow").retry_after == 1.0
    slow = errors.Throttled("slow", 2.5)
    assert (str(slow), slow.retry_after) == ("slow", 2.5)
    assert issubclass(errors.Forbidden, errors.Refused)


def test_nothing_more_than_what_is_named_goes_into_the_vault() -> None:
    whom, secret = UUID(int=1), SecretHash(b"s" * 32)
    ask = Ask(secret, whom, "account", ["name"], "provide", "integration")
    assert (ask.reference, ask.record) == (None, None)
    assert Find(secret, "account", "email", "a@b.example", ["name"], "provide", "integration").reference is None
    new = NewRecord("account", {}, "subject")
    assert (new.subject, new.kind, new.org, new.new_subject, new.new_record) == (None,) * 5
    outcome = Outcome()
    assert (outcome.records, outcome.error) == ((), None)
    find, record = (
        Find(secret, "account", "email", "a@b.example", ["name"], "provide", "integration"),
        Record(whom, whom, "account", {}, {}, 1),
    )
    for one in (ask, find, record, outcome):
        assert not gc.is_tracked(one), "a batch makes hundreds: none of them is for the garbage collector to look at"
        with pytest.raises(AttributeError):
            setattr(one, one.__struct_fields__[0], None)
    assert get_args(Origin) == ("subject", "organisation", "operator", "system")
    assert SecretHash.__name__ == "SecretHash"


def test_names_that_doors_import_are_there() -> None:
    assert Vault.__mro__[1].__name__ == "VaultReader"
    assert {name for name in dir(Vault) if not name.startswith("_")} >= {"create", "correct", "erase", "restrict", "read", "find"}
    assert AsyncVault.__name__ == "AsyncVault"
    assert issubclass(Unverified, errors.Refused)
    assert secret_hash("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert secret_hash(b"abc") == secret_hash("abc")
    assert len({new_secret() for _ in range(50)}) == 50
    assert all(len(new_secret()) == 43 for _ in range(5))
