"""What claim 7a.4 reads from the server's catalogue: each fault is seen as that fault and as nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from armonika import policy
from armonika.settings import Settings
from armonika.trust.keys.keyring import DOORS
from armonika.verify import rights
from armonika.verify.context import Context
from armonika.verify.frame import Evidence
from armonika.verify.http import send
from tests.doors import Doors

WIDEN = (
    "INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, o.id, 'all', 1 FROM vault.role r, vault.purpose p, vault.dataset d, vault.operation o "
    "WHERE r.name = 'integration' AND p.name = 'provide' AND d.name = 'staff' AND o.name = 'read'"
)
FAULTS = {
    "a door may write to a table": ("GRANT INSERT ON vault.session TO armonika_console", "is given on a table"),
    "a door may write to one column": ("GRANT UPDATE (usable) ON vault.session TO armonika_site", "is given on a table"),
    "everybody may count": ("GRANT USAGE ON SEQUENCE vault.audit_number TO PUBLIC", "is given on a table"),
    "the functions' owner may do everything": ("ALTER ROLE armonika_vault SUPERUSER", "more than a plain role"),
    "the functions' owner signs in": ("ALTER ROLE armonika_store LOGIN", "more than a plain role"),
    "the functions' owner reads everything": ("GRANT pg_read_all_data TO armonika_vault", "through another role"),
    "a function of a superuser's": (
        "CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM vault.session'",
        "rights that it must not have",
    ),
    "a function that belongs to another": ("ALTER FUNCTION vault.whoami OWNER TO armonika_store", "rights that it must not have"),
    "a function without its search path": ("ALTER FUNCTION vault.whoami RESET search_path", "takes names from where"),
    "a door may make things in the vault": ("GRANT CREATE ON SCHEMA vault TO armonika_site", "make or alter things"),
    "everybody may make temporary tables": ("DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO PUBLIC', current_database()); END $$", "of the database is given"),
    "the log may be shortened": ("GRANT DELETE ON vault.audit TO armonika_vault", "only add to it"),
    "a table goes to another": ("ALTER TABLE vault.session OWNER TO CURRENT_USER", "than the store"),
    "a guard is switched off": ("ALTER TABLE vault.tombstone DISABLE TRIGGER keep", "is switched off"),
    "tables are published": ("CREATE PUBLICATION away FOR TABLE vault.subject", "carries data to elsewhere"),
    "a role of ours that nobody declared": ("CREATE ROLE armonika_helper LOGIN NOINHERIT", "nobody wrote down"),
    "a rule of services that the policy has not": (WIDEN, "is not the one in the policy"),
    "a rule that was taken away": (
        "DELETE FROM vault.rule WHERE ctid = (SELECT ctid FROM vault.rule WHERE policy_id = vault.policy_in_force() LIMIT 1)", "is not the one in the policy",
    ),
    "a door that opens another compartment": (
        "INSERT INTO vault.door_compartment SELECT vault.policy_in_force(), 'site', c.id, 'full' FROM vault.compartment c WHERE c.name = 'staff'",
        "the compartments of ['site']",
    ),
}  # fmt: skip


@pytest.fixture
def context(doors: Doors, tmp_path: Path) -> Iterator[Context]:
    with doors.admin() as admin:
        config = Settings(tmp_path, 1, database_url="postgresql://elsewhere")
        yield Context(config, policy.load(), cast("Any", admin), doors.verifier, send)


def looked(context: Context) -> list[str]:
    evidence = Evidence()
    rights.compared(context, evidence, set(DOORS))
    rights.rules(context, evidence)
    assert evidence.examined > 50
    return evidence.failures


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_catalogue_is_seen_as_what_it_is(context: Context, fault: str) -> None:
    statement, words = FAULTS[fault]
    assert looked(context) == []
    with context.planted(statement):
        found = looked(context)
    assert len(found) == 1
    assert words in found[0]


def test_every_partition_of_the_log_belongs_to_the_store(doors: Doors) -> None:
    with doors.admin() as admin:
        owners = {
            owner for (owner,) in admin.execute("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'audit%' AND relkind = 'r'")
        }  # fmt: skip
    assert owners == {"armonika_store"}
