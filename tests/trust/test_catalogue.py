"""What a door knows of the policy in force: names to ids and masks, and a refusal for every name that is not declared."""

from __future__ import annotations

from typing import Any

import pytest

from armonika.trust.vault.catalogue import Catalogue
from armonika.trust.vault.errors import Undeclared

CONTENT: dict[str, Any] = {
    "sha256": "a" * 64, "version": "1.2", "purposes": {"provide": 1, "legal": 6}, "reasons": {"own-view": 3, "a-first": 9}, "operations": {"read": 1, "erase": 6},
    "datasets": {
        "account": {"id": 1, "compartment": "account", "fields": {"email": 2, "name": 1, "phone": 4}, "indexed": ["email"]},
        "staff": {"id": 2, "compartment": "staff", "fields": None, "indexed": []}, "demo": {"id": 3, "compartment": "prospects", "fields": {"name": 1}, "indexed": []},
    },
    "epochs": {"account": {"active": 3, "indexing": [2, 3]}, "prospects": {"active": None, "indexing": None}},
}  # fmt: skip


def test_names_ids_and_epochs_of_each_dataset() -> None:
    made = Catalogue(CONTENT)
    assert (made.sha256, made.version, made.operations) == ("a" * 64, "1.2", {"read": 1, "erase": 6})
    account = made.dataset("account")
    assert (account.id, account.name, account.compartment) == (1, "account", "account")
    assert list(account.ordinals.items()) == [("name", 1), ("email", 2), ("phone", 4)]
    assert list(account.names.items()) == [(1, "name"), (2, "email"), (4, "phone")]
    assert account.indexed == frozenset({"email"})
    assert account.labels == {"name": b"account.name", "email": b"account.email", "phone": b"account.phone"}
    assert (account.epoch, account.indexing) == (3, (2, 3))
    assert (made.dataset("demo").epoch, made.dataset("demo").indexing) == (None, ())
    staff = made.dataset("staff")
    assert (staff.epoch, staff.indexing, staff.ordinals) == (None, (), {})
    assert made.by_id == {1: account, 2: staff, 3: made.dataset("demo")}
    with pytest.raises(AttributeError):
        account.id = 5  # type: ignore[misc]
    assert not hasattr(account, "__dict__")


def test_a_mask_is_of_declared_fields() -> None:
    account = Catalogue(CONTENT).dataset("account")
    assert [account.mask(fields) for fields in (["name"], ["email"], ["phone"], ["name", "phone"], ["name", "name"])] == [
        1,
        2,
        8,
        9,
        1,
    ]
    for fields in ([], ["salary"], ["name", "salary"], [""]):
        with pytest.raises(Undeclared):
            account.mask(fields)


def test_names_that_are_not_declared_are_refused() -> None:
    made = Catalogue(CONTENT)
    assert (made.purpose("legal"), made.reason("own-view")) == (6, 3)
    assert made.purposes() == ["legal", "provide"]
    assert made.reasons() == ["a-first", "own-view"]
    for look in (made.dataset, made.purpose, made.reason):
        with pytest.raises(Undeclared):
            look("profiling")


def test_an_empty_policy_declares_nothing() -> None:
    made = Catalogue({**CONTENT, "datasets": None, "purposes": None, "reasons": None})
    assert (made.by_id, made.purposes(), made.reasons()) == ({}, [], [])
    with pytest.raises(Undeclared):
        made.purpose("provide")
