"""An installation is made ready in an empty database, with the keys and so the doors' passwords of the shared server; tokens are issued, named and ended."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.trust.keys import Keyring
from armonika.trust.keys.credentials import load
from armonika.trust.keys.keyring import DOORS
from armonika.trust.keys.provision import Provisioned, Token, end_token, issue_token, provision, tokens
from armonika.trust.vault import Vault, secret_hash

NAME = "armonika_ready"
CATALOGUE: dict[str, Any] = catalogue(policy.load())


@dataclass
class Ready:
    """A database of its own."""

    keys: Path
    admin_dsn: str
    dsn: str
    made: Provisioned
    recovered: list[Any]

    def rows(self, statement: str, *given: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as admin:
            done = admin.execute(statement.encode(), given)
            return done.fetchall() if done.description else []

    def again(self, **changed: Any) -> Provisioned:
        return provision(self.keys, self.admin_dsn, CATALOGUE | changed)


@pytest.fixture(scope="module")
def ready(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    keys = tmp_path_factory.mktemp("ready") / "keys"
    shutil.copytree(server.home / "keys", keys)
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {NAME}".encode())
    dsn, recovered = make_conninfo(server.admin_dsn, dbname=NAME), []

    def recover(ring: Keyring) -> None:
        """What a restored copy finds: the policy is there for everybody, and nothing was written down yet."""
        with psycopg.connect(dsn) as other:
            recovered.append((ring.keyring_id, other.execute("SELECT vault.policy_in_force(), (SELECT count(*) FROM vault.audit), (SELECT count(*) FROM vault.epoch)").fetchone()))  # fmt: skip

    try:
        made = provision(keys, dsn, CATALOGUE, recover)
        yield Ready(keys, dsn, make_conninfo(server.dsn, dbname=NAME), made, recovered)
    finally:
        with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)".encode())


def test_everything_is_there_after_the_first_time(ready: Ready) -> None:
    made, ring = ready.made, Keyring.open(ready.keys)
    assert ready.recovered == [(ring.keyring_id, (made.policy_id, 0, 0))]
    assert made.migration.applied
    assert made.migration.functions_changed
    assert ready.rows("SELECT keyring_id FROM vault.installation") == [(ring.keyring_id,)]
    assert ready.rows("SELECT vault.policy_in_force(), sha256 FROM vault.policy_version") == [
        (made.policy_id, CATALOGUE["sha256"])
    ]
    epochs = ready.rows("SELECT compartment, epoch, state FROM vault.epochs()")
    assert epochs == sorted((name, ring.epochs.active(name), "active") for name in CATALOGUE["compartments"])
    held = {(door, name): mode for door, parts in made.compartments.items() for name, mode in parts.items()}
    assert held == {(entry["door"], entry["compartment"]): entry["mode"] for entry in CATALOGUE["doors"]}


def test_each_door_of_the_policy_has_its_service(ready: Ready) -> None:
    ring, roles = Keyring.open(ready.keys), {role["name"] for role in CATALOGUE["roles"]}
    services = ready.rows(
        "SELECT s.door, r.name, s.actor, s.secret_hash, s.label, round(extract(epoch FROM s.expires_at - s.created_at) / 86400)::int FROM vault.session s "
        "JOIN vault.role r ON r.id = s.role WHERE s.kind = 'service' AND s.revoked_at IS NULL"
    )
    wanted = [door for door in DOORS if door in roles]
    assert len(wanted) == len(services)
    assert sorted(services) == sorted(
        (door, door, UUID(str(actor)), secret_hash(secret), None, 3650)
        for door in wanted
        for actor, secret in [ring.service(door)]
    )
    vault = Vault.open(ready.made.credentials("api"), ready.dsn, size=1)
    assert vault.whoami(vault.service).role == "api"
    vault.close()


def test_credentials_are_those_of_the_door_and_its_compartments(ready: Ready, tmp_path: Path) -> None:
    for door in ("site", "worker", "mailin"):
        made = ready.made.credentials(door)
        assert (made.door, {name: held.mode for name, held in made.compartments.items()}) == (
            door,
            ready.made.compartments.get(door, {}),
        )
    path = ready.made.write_credentials("api", tmp_path)
    assert path.parent == tmp_path
    assert load("api", tmp_path).service_secret == ready.made.credentials("api").service_secret
    assert load("api", tmp_path).compartments == ready.made.credentials("api").compartments


def test_the_same_again_changes_nothing(ready: Ready) -> None:
    state = "SELECT (SELECT count(*) FROM vault.audit), (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.secret_hash) FROM vault.session s), (SELECT jsonb_agg(to_jsonb(e)) FROM vault.epoch e)"
    before = ready.rows(state)
    made = ready.again()
    assert ready.rows(state) == before
    assert (made.policy_id, made.migration.applied, made.migration.functions_changed) == (ready.made.policy_id, (), False)


def test_a_door_that_is_no_role_of_the_policy_is_passed_over(ready: Ready) -> None:
    left = "SELECT door FROM vault.session WHERE kind = 'service' AND expires_at < clock_timestamp() + interval '30 days'"
    ready.rows("UPDATE vault.session SET expires_at = clock_timestamp() + interval '29 days' WHERE kind = 'service'")
    ready.again(roles=[role for role in CATALOGUE["roles"] if role["name"] != "console"])
    assert ready.rows(left) == [("console",)]
    ready.again()
    assert ready.rows(left) == []


def test_a_service_that_ends_within_a_month_is_prolonged(ready: Ready) -> None:
    left = "SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 86400)::int FROM vault.session WHERE kind = 'service' AND door = 'site'"
    for days, after in ((31, 31), (29, 3650)):
        ready.rows(
            "UPDATE vault.session SET expires_at = clock_timestamp() + make_interval(days => %s) WHERE kind = 'service' AND door = 'site'",
            days,
        )
        entries = ready.rows("SELECT count(*) FROM vault.audit")[0][0]
        ready.again()
        assert ready.rows(left) == [(after,)]
        assert ready.rows("SELECT count(*) FROM vault.audit")[0][0] - entries == (days < 30)
    assert len(ready.rows(left)) == 1


def test_what_a_crash_left_between_keyring_and_database_is_mended(ready: Ready) -> None:
    ring = Keyring.open(ready.keys)
    number = ring.epochs.prepare("support", "test")
    ring.epochs.activate("support", number, "test")
    ring.save()
    before = ready.rows("SELECT epoch FROM vault.epochs() WHERE compartment <> 'support'")
    made = ready.again()
    states = "SELECT epoch, state FROM vault.epochs() WHERE compartment = 'support'"
    assert ready.rows(states) == [(number - 1, "retiring"), (number, "active")]
    assert ready.rows("SELECT epoch FROM vault.epochs() WHERE compartment <> 'support'") == before
    assert made.keyring.epochs.active("support") == number


def test_doors_hold_what_the_database_still_needs(ready: Ready) -> None:
    """Somebody put files from before a rotation in place: the keyring says of an epoch that it is over, the database that it is not."""
    ring, keep = (
        Keyring.open(ready.keys),
        "UPDATE vault.epoch e SET state = %s FROM vault.compartment c WHERE c.id = e.compartment AND c.name = 'billing' AND e.epoch = %s",
    )
    before = ring.epochs.active("billing")
    ring.epochs.activate("billing", ring.epochs.prepare("billing", "test"), "test")
    ring.save()
    ready.again()
    for state, held in (("retired", False), ("emptied", True), ("retiring", True)):
        ready.rows(keep, state, before)
        ring = Keyring.open(ready.keys)
        ring.epochs.retired("billing", before, datetime.now(UTC))
        ring.save()
        assert before not in ring.epochs.usable("billing")
        assert (before in ready.again().keyring.epochs.usable("billing")) == held
        assert (before in Keyring.open(ready.keys).epochs.usable("billing")) == held, "and it is written down"


def test_a_policy_without_an_epoch_yet_gets_the_first(ready: Ready) -> None:
    """A compartment that comes later has its own keys and its own first epoch."""
    later = copy.deepcopy(CATALOGUE)
    later["compartments"] = [*CATALOGUE["compartments"], "later"]
    later["sha256"], later["version"] = "d" * 64, "99"
    later["effective_from"] = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    made = ready.again(**later)
    assert made.keyring.epochs.active("later") == 1
    assert ready.rows("SELECT epoch, state FROM vault.epochs() WHERE compartment = 'later'") == [(1, "active")]
    assert made.policy_id == ready.made.policy_id + 1


def test_a_token_is_shown_once_and_bound_as_asked(ready: Ready) -> None:
    wide = issue_token(ready.admin_dsn)
    narrow = issue_token(
        ready.admin_dsn, days=0.5, label="one", compartments=["account"], purposes=["provide"], operations=["read", "find"]
    )
    assert all(re.fullmatch(r"arm_[A-Za-z0-9_-]{43}", token) for token in (wide, narrow))
    columns = (
        "SELECT r.name, s.door, s.kind, s.label, round(extract(epoch FROM s.expires_at - s.created_at) / 60)::int, (SELECT array_agg(c.name) FROM vault.compartment c WHERE c.id = ANY (s.scope_compartments)), "
        "(SELECT array_agg(p.name) FROM vault.purpose p WHERE p.id = ANY (s.scope_purposes)), (SELECT array_agg(o.name ORDER BY o.id) FROM vault.operation o WHERE o.id = ANY (s.scope_operations)), "
        "s.scope_compartments IS NULL FROM vault.session s JOIN vault.role r ON r.id = s.role WHERE s.secret_hash = %s"
    )
    assert ready.rows(columns, secret_hash(wide)) == [("integration", "api", "token", None, 90 * 24 * 60, None, None, None, True)]
    ((*_, minutes, compartments, purposes, operations, _),) = ready.rows(columns, secret_hash(narrow))
    assert (minutes, compartments, purposes, operations) == (720, ["account"], ["provide"], ["read", "find"])
    nothing = issue_token(ready.admin_dsn, compartments=[], purposes=[], operations=[])
    assert ready.rows(
        "SELECT scope_compartments, scope_purposes, scope_operations FROM vault.session WHERE secret_hash = %s",
        secret_hash(nothing),
    ) == [([], [], [])]
    actors = ready.rows("SELECT count(DISTINCT actor) FROM vault.session WHERE kind = 'token'")
    assert actors == [(3,)], "each is somebody of its own in the log"


def test_a_token_of_names_that_are_not_declared_is_not_issued(ready: Ready) -> None:
    before = ready.rows("SELECT count(*) FROM vault.session")
    wrong: list[dict[str, Any]] = [
        {"role": "nobody"},
        {"role": "dpo"},
        {"compartments": ["nowhere"]},
        {"purposes": ["profiling"]},
        {"operations": ["steal"]},
    ]
    for words in wrong:
        with pytest.raises(ValueError, match="nothing was issued"):
            issue_token(ready.admin_dsn, **words)
    with pytest.raises(psycopg.errors.CheckViolation):
        issue_token(ready.admin_dsn, label="Not A Label")
    assert ready.rows("SELECT count(*) FROM vault.session") == before


def test_living_tokens_are_named_and_one_is_ended(ready: Ready) -> None:
    ready.rows("DELETE FROM vault.session WHERE kind = 'token'")
    first, second, third, over = (
        issue_token(ready.admin_dsn, label=name, days=days) for name, days in (("b", 1), ("a", 90), (None, 2), ("over", 0))
    )
    found = tokens(ready.admin_dsn)
    assert [(one.name, one.label, one.role) for one in found] == [
        (secret_hash(token).hex()[:12], label, "integration") for token, label in ((first, "b"), (second, "a"), (third, None))
    ]
    assert all(isinstance(one, Token) and one.issued < one.expires for one in found)
    entry = end_token(ready.admin_dsn, found[1].name)
    assert [one.label for one in tokens(ready.admin_dsn)] == ["b", None]
    whom = ready.rows("SELECT actor FROM vault.session WHERE secret_hash = %s", secret_hash(second))
    assert ready.rows("SELECT subject FROM vault.audit WHERE audit_id = %s", entry) == whom
    for name in (found[1].name, "0" * 12, "short", found[0].name.upper()):
        with pytest.raises(LookupError, match="Nothing was ended"):
            end_token(ready.admin_dsn, name)
    assert [one.label for one in tokens(ready.admin_dsn)] == ["b", None]
    with pytest.raises(psycopg.Error):
        end_token(
            make_conninfo(ready.dsn, user="armonika_api", password=ready.made.credentials("api").database_password), found[0].name
        )
    del over
