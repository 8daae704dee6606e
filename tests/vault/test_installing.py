"""A compiled policy in the database: what a version declares and nothing else, names that keep their numbers, and what a door is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.vault.stage import Stage
from tests.vault.undone import refused, rows, undone

INSTALL = "SELECT vault.install_policy(%s::jsonb)"
NAMED = ("compartment", "purpose", "reason", "role")
EFFECTIVE = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
GIVEN: dict[str, Any] = {
    "version": "9", "effective_from": EFFECTIVE.isoformat(), "sha256": "e" * 64, "time_zone": "Africa/Tunis", "document": "every word of it",
    "while_restricted": ["legal", "study"],
    "compartments": ["account", "fresh", "spare"],
    "datasets": [
        {"name": "account", "compartment": "account", "fields": ["nickname", "email", "name"], "unique": ["nickname"], "indexed": ["email", "nickname"],
         "retention": [{"class": "short", "days": 3, "starts": "event", "locked": True}]},
        {"name": "novel", "compartment": "fresh", "fields": ["b", "name"], "unique": [], "indexed": ["name"]},
    ],
    "purposes": ["provide", "study", "legal"],
    "roles": [{"name": "integration", "kind": "machine"}, {"name": "scholar", "kind": "staff"}],
    "reasons": [{"name": "integration", "purposes": ["provide"]}, {"name": "curiosity", "purposes": ["study", "legal"]}],
    "doors": [{"door": "api", "compartment": "fresh", "mode": "seal"}, {"door": "site", "compartment": "account", "mode": "full"}],
    "rules": [
        {"role": "scholar", "purpose": "study", "dataset": "novel", "operation": "read", "scope": "all", "fields": ["name"]},
        {"role": "scholar", "purpose": "study", "dataset": "novel", "operation": "read", "scope": "all", "fields": ["name", "b"]},
        {"role": "scholar", "purpose": "study", "dataset": "novel", "operation": "read", "scope": "own", "fields": []},
        {"role": "integration", "purpose": "provide", "dataset": "account", "operation": "event_withdrawn", "scope": "org", "fields": ["email"]},
    ],
}  # fmt: skip
TABLES = ("policy_version", "compartment", "dataset", "field", "purpose", "reason", "role", "declared_field", "declared_purpose", "declared_reason", "declared_retention", "door_compartment", "rule")  # fmt: skip


@pytest.fixture
def clean(stage: Stage) -> Iterator[Stage]:
    """Nothing is left of what a test installs."""
    with undone(stage):
        yield stage


def install(stage: Stage, **changed: Any) -> int:
    ((number,),) = rows(stage, INSTALL, json.dumps(GIVEN | changed))
    return int(number)


def numbers(stage: Stage, table: str) -> dict[str, int]:
    return dict(rows(stage, f"SELECT name, id FROM vault.{table}"))


def ordinals(stage: Stage, name: str) -> dict[str, int]:
    return dict(
        rows(
            stage, "SELECT f.name, f.ordinal FROM vault.field f JOIN vault.dataset d ON d.id = f.dataset WHERE d.name = %s", name
        )
    )


def counted(stage: Stage) -> list[tuple[Any, ...]]:
    return rows(stage, "SELECT " + ", ".join(f"(SELECT count(*) FROM vault.{table})" for table in TABLES))


def declared(stage: Stage, table: str, policy: int) -> list[tuple[Any, ...]]:
    return sorted(row[1:] for row in rows(stage, f"SELECT * FROM vault.{table} WHERE policy_id = %s", policy))


def test_a_version_declares_what_it_says(clean: Stage) -> None:
    before = {table: numbers(clean, table) for table in (*NAMED, "dataset")}
    known, newest = ordinals(clean, "account"), clean.value("SELECT max(policy_id) FROM vault.policy_version")
    policy = install(clean)
    assert policy == newest + 1
    assert rows(clean, "SELECT version, effective_from, sha256, document, catalogue FROM vault.policy_version WHERE policy_id = %s", policy) == [
        ("9", EFFECTIVE, "e" * 64, "every word of it", {key: value for key, value in GIVEN.items() if key != "document"})
    ]  # fmt: skip
    # A name has its number for good; a new one gets the next.
    after = {table: numbers(clean, table) for table in before}
    spare = after["compartment"].pop("spare")
    assert spare == after["compartment"]["fresh"] + 1
    new = {"compartment": "fresh", "purpose": "study", "reason": "curiosity", "role": "scholar", "dataset": "novel"}
    assert after == {table: found | {new[table]: max(found.values()) + 1} for table, found in before.items()}
    parts, purposes, reasons, roles, datasets = (
        after[table] for table in ("compartment", "purpose", "reason", "role", "dataset")
    )
    assert ordinals(clean, "account") == known | {"nickname": max(known.values()) + 1}
    assert ordinals(clean, "novel") == {"b": 1, "name": 2}
    assert rows(clean, "SELECT compartment FROM vault.dataset WHERE name = 'novel'") == [(parts["fresh"],)]
    assert rows(clean, "SELECT kind FROM vault.role WHERE name = 'scholar'") == [("staff",)]
    bits = {name: 1 << (ordinal - 1) for name, ordinal in ordinals(clean, "account").items()}
    account, novel = datasets["account"], datasets["novel"]
    assert declared(clean, "declared_field", policy) == [
        (account, bits["nickname"] | bits["email"] | bits["name"], bits["nickname"], bits["email"] | bits["nickname"]),
        (novel, 3, 0, 2),
    ]
    assert declared(clean, "declared_retention", policy) == [(account, "short", 3, "event", True, "Africa/Tunis")]
    assert declared(clean, "declared_purpose", policy) == sorted(
        (purposes[name], name != "provide") for name in ("provide", "study", "legal")
    )
    assert declared(clean, "declared_reason", policy) == sorted(
        (reasons[reason], purposes[purpose]) for reason, purpose in (("integration", "provide"), ("curiosity", "study"), ("curiosity", "legal"))
    )  # fmt: skip
    assert declared(clean, "door_compartment", policy) == [("api", parts["fresh"], "seal"), ("site", parts["account"], "full")]
    assert declared(clean, "rule", policy) == sorted([
        (roles["scholar"], purposes["study"], novel, 1, "all", 3),
        (roles["scholar"], purposes["study"], novel, 1, "own", 0),
        (roles["integration"], purposes["provide"], account, 31, "org", bits["email"]),
    ])  # fmt: skip


def test_the_same_version_again_changes_nothing(clean: Stage) -> None:
    policy = install(clean)
    before = counted(clean)
    assert install(clean, version="other", purposes=[]) == policy
    assert counted(clean) == before


def test_what_a_policy_leaves_out_is_the_narrower_way(clean: Stage) -> None:
    short = {key: value for key, value in GIVEN.items() if key != "while_restricted"}
    ((policy,),) = rows(clean, INSTALL, json.dumps(short))
    assert declared(clean, "declared_purpose", policy) == sorted(
        (numbers(clean, "purpose")[name], name == "legal") for name in ("provide", "study", "legal")
    )


def test_a_dataset_stays_in_its_compartment(clean: Stage) -> None:
    before = counted(clean)
    moved = [GIVEN["datasets"][0] | {"compartment": "fresh"}]
    assert refused(clean, INSTALL, json.dumps(GIVEN | {"datasets": moved})) == "AR422"
    assert (
        refused(clean, INSTALL, json.dumps(GIVEN | {"datasets": [GIVEN["datasets"][0] | {"compartment": "billing"}]})) == "AR422"
    )
    assert counted(clean) == before


def test_versions_are_installed_one_after_the_other(clean: Stage) -> None:
    install(clean)
    with clean.doors.admin() as other, pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute("SELECT FROM vault.seal_state FOR UPDATE NOWAIT")


@pytest.mark.parametrize("table", NAMED)
def test_a_name_has_one_number_for_good(clean: Stage, table: str) -> None:
    call, before = "SELECT vault.id_of(%s, %s, 'machine')", numbers(clean, table)
    assert {name: rows(clean, call, table, name)[0][0] for name in before} == before
    assert numbers(clean, table) == before
    others = {other: numbers(clean, other) for other in NAMED if other != table}
    ((made,),) = rows(clean, call, table, "never-named")
    assert made == max(before.values()) + 1
    assert rows(clean, call, table, "never-named") == [(made,)]
    assert numbers(clean, table) == before | {"never-named": made}
    assert {other: numbers(clean, other) for other in others} == others
    rows(clean, "SET LOCAL session_replication_role = replica")
    rows(clean, f"DELETE FROM vault.{table}")
    assert [rows(clean, call, table, name) for name in ("one", "two", "one")] == [[(1,)], [(2,)], [(1,)]]


def test_a_mask_is_of_the_fields_of_one_dataset(clean: Stage) -> None:
    install(clean)
    novel, known = numbers(clean, "dataset")["novel"], ordinals(clean, "account")
    mask = "SELECT vault.mask_of(%s::smallint, %s::jsonb)"
    for names, found in ((["name", "b"], 3), (["name"], 2), (["name", "email", "nobody"], 2), ([], 0), (None, 0)):
        assert rows(clean, mask, novel, None if names is None else json.dumps(names)) == [(found,)]
    assert rows(clean, mask, clean.account.id, '["email"]') == [(1 << (known["email"] - 1),)]


def test_a_door_is_told_the_version_in_force(clean: Stage) -> None:
    policy = install(clean)
    parts, known = numbers(clean, "compartment"), ordinals(clean, "account")
    states = {"fresh": ("retired", "emptied", "retiring", "active"), "support": ("emptied", "suspended"), "billing": ("retired",)}
    rows(clean, "DELETE FROM vault.epoch")
    for name, found in states.items():
        for epoch, state in enumerate(found, start=1):
            rows(clean, "INSERT INTO vault.epoch VALUES (%s, %s, %s)", parts[name], epoch, state)
    told = clean.value("SELECT vault.catalogue()")
    assert told == {
        "policy_id": policy, "sha256": "e" * 64, "version": "9", "compartments": parts,
        "datasets": {
            "account": {"id": clean.account.id, "compartment": "account", "fields": {name: known[name] for name in ("nickname", "email", "name")},
                        "unique": ["nickname"], "indexed": ["email", "nickname"]},
            "novel": {"id": numbers(clean, "dataset")["novel"], "compartment": "fresh", "fields": {"b": 1, "name": 2}, "unique": [], "indexed": ["name"]},
        },
        "purposes": {name: numbers(clean, "purpose")[name] for name in ("provide", "study", "legal")},
        "reasons": {name: numbers(clean, "reason")[name] for name in ("integration", "curiosity")},
        "epochs": {"fresh": {"active": 4, "indexing": [3, 4]}, "support": {"active": None, "indexing": [2]}, "billing": {"active": None, "indexing": None}},
        "operations": numbers(clean, "operation"),
    }  # fmt: skip
    rows(clean, "DELETE FROM vault.epoch")
    assert clean.value("SELECT vault.catalogue()")["epochs"] == {}


def test_versions_are_shown_from_their_moment_on(clean: Stage) -> None:
    shown = rows(clean, "SELECT * FROM vault.policies()")
    install(clean)
    install(clean, sha256="d" * 64, version="10", effective_from=(EFFECTIVE + timedelta(days=1)).isoformat())
    now = rows(clean, "SELECT * FROM vault.policies()")
    assert now == [("9", EFFECTIVE, "e" * 64, True), *((*row[:3], False) for row in shown)]
    assert [row[1] for row in now] == sorted((row[1] for row in now), reverse=True)
    document = "SELECT vault.policy_document(%s)"
    assert [clean.value(document, letter * 64) for letter in "edc9"] == ["every word of it", None, None, None]
