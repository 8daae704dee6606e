"""Rules that no function or table of the vault can escape, read from the server's own catalogue (testing of SECURITY DEFINER functions)."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.doors import Doors

GRANTS = Path(__file__).parents[2] / "armonika" / "store" / "sql" / "functions" / "grants.sql"
# What the administrator calls, with the vault's rights and not with a superuser's.
ADMINISTRATOR = {
    "install_policy", "install_epoch", "install_session", "narrow_token", "end_token", "activate_epoch", "suspend_epoch", "note_destruction", "pause_rotation",
    "import_entries", "replay_ended", "replay_events", "note_restore", "staff_appoint", "staff_reset", "staff_end", "confirm_clock", "note_policies", "note_keys",
}  # fmt: skip
DOORS = ("site", "console", "api", "worker", "sealer", "verifier", "mailin", "timpani", "retention")


def rows(doors: Doors, statement: str) -> list[tuple[object, ...]]:
    with doors.admin() as connection:
        return connection.execute(statement).fetchall()


# Pages that go by an index, whatever the server knows of a table (tests/keys/test_growth.py).
BY_INDEX = {f"enable_{way}=off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")} | {"jit=off"}


def test_every_function_names_its_whole_search_path(doors: Doors) -> None:
    found = rows(doors, "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND prokind = 'f'")
    assert len(found) > 30
    wrong = [name for name, config in found if "search_path=pg_catalog, vault, pg_temp" not in (config or [])]
    assert not wrong
    others = {setting for _, config in found for setting in config if not setting.startswith("search_path=")}
    assert others <= {"plan_cache_mode=force_generic_plan"} | BY_INDEX, "a function sets nothing else"


def test_what_serves_people_plans_without_values(doors: Doors) -> None:
    """Any role may have plans printed: one made for the values at hand would print what the function read for itself."""
    declared = re.findall(r"\('(\w+)', '\{([a-z,]+)\}'\)", GRANTS.read_text())
    wanted = {name for name, held in declared if {"site", "console", "api", "worker", "verifier"} & set(held.split(","))}
    found = rows(
        doors,
        "SELECT proname, proconfig FROM pg_proc JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'vault'::regnamespace AND prosecdef AND lanname = 'plpgsql'",
    )
    serving = [(name, config) for name, config in found if name in wanted]
    assert len(serving) > 35
    assert not [name for name, config in serving if "plan_cache_mode=force_generic_plan" not in config]  # type: ignore[operator]


def test_definer_functions_belong_to_an_owner_who_owns_nothing_else(doors: Doors) -> None:
    found = rows(
        doors,
        "SELECT p.proname, r.rolname, r.rolcanlogin, r.rolsuper FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'vault'::regnamespace",
    )
    assert found
    assert {(owner, login, root) for _, owner, login, root in found} == {("armonika_vault", False, False)}
    owned = rows(
        doors,
        "SELECT relname FROM pg_class JOIN pg_roles r ON r.oid = relowner WHERE r.rolname = 'armonika_vault' AND relkind IN ('r', 'p', 'S', 'v', 'm')",
    )
    assert not owned


def test_exactly_what_is_called_from_outside_runs_with_the_vaults_rights(doors: Doors) -> None:
    granted = {name for name, _ in re.findall(r"\('(\w+)', '\{([a-z,]+)\}'\)", GRANTS.read_text())}
    found = rows(doors, "SELECT proname FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND prokind = 'f' AND prosecdef")
    procedures = rows(doors, "SELECT proname FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND prokind = 'p'")
    assert {name for (name,) in found} == (granted - {name for (name,) in procedures}) | ADMINISTRATOR


def test_definer_procedures_do_not_exist_and_none_is_leakproof_or_parallel(doors: Doors) -> None:
    found = rows(
        doors,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND (proleakproof OR proparallel <> 'u' OR prokind = 'p' AND prosecdef)",
    )
    assert {name for (name,) in found} <= {"keep"}


def test_execute_is_granted_exactly_as_the_table_of_grants_says(doors: Doors) -> None:
    declared = {
        name: frozenset(held.split(",")) for name, held in re.findall(r"\('(\w+)', '\{([a-z,]+)\}'\)", GRANTS.read_text())
    }
    assert len(declared) > 25
    found = rows(doors, "SELECT proname, proacl::text[] FROM pg_proc WHERE pronamespace = 'vault'::regnamespace")
    for name, acl in found:
        held = {re.sub(r"^armonika_", "", entry.split("=")[0]) for entry in (acl or ["=X/"])} - {"vault"}  # type: ignore[union-attr]
        assert held == declared.get(str(name), frozenset()), name
    assert set(declared) <= {str(name) for name, _ in found}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_has_a_right_on_any_table_or_sequence(doors: Doors, door: str) -> None:
    held = rows(
        doors,
        f"""SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('vault'::regnamespace, 'armonika_meta'::regnamespace) AND (
            c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege('armonika_{door}', c.oid, 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER')
            OR c.relkind = 'S' AND has_sequence_privilege('armonika_{door}', c.oid, 'USAGE,SELECT,UPDATE'))""",
    )
    assert not held
    (owner_can,) = rows(doors, "SELECT has_table_privilege('armonika_vault', 'vault.record', 'SELECT')")
    assert owner_can == (True,), "positive control: the same question has a yes"


@pytest.mark.parametrize("table", ["audit", "leaf", "tombstone", "policy_version", "declared_retention"])
def test_what_is_only_added_cannot_be_changed_even_by_the_functions_owner(doors: Doors, table: str) -> None:
    (held,) = rows(
        doors,
        f"SELECT has_table_privilege('armonika_vault', 'vault.{table}', 'UPDATE'), has_table_privilege('armonika_vault', 'vault.{table}', 'DELETE'), has_table_privilege('armonika_vault', 'vault.{table}', 'INSERT')",
    )
    assert held == (False, False, True)
    with doors.admin() as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute(f"DELETE FROM vault.{table}")


def test_nothing_of_the_database_is_open_to_public(doors: Doors) -> None:
    (held,) = rows(
        doors,
        "SELECT has_database_privilege('armonika_site', current_database(), 'TEMP'), has_database_privilege('armonika_site', current_database(), 'CREATE'), has_schema_privilege('armonika_site', 'public', 'CREATE'), has_schema_privilege('armonika_site', 'vault', 'CREATE')",
    )
    assert held == (False, False, False, False)
    dangerous = rows(
        doors,
        """SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
           AND p.proname IN ('pg_logical_emit_message', 'lo_create', 'lo_creat', 'lo_from_bytea', 'lo_put', 'lowrite', 'pg_export_snapshot')
           AND has_function_privilege('armonika_site', p.oid, 'EXECUTE')""",
    )
    assert not dangerous


def test_no_function_builds_sql_from_text(doors: Doors) -> None:
    found = rows(doors, "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'vault'::regnamespace")
    assert not [name for name, source in found if re.search(r"\bEXECUTE\s+(format|'|\w+\s*\|\|)", str(source), re.I)]


def test_every_foreign_key_and_primary_key_of_the_big_tables_holds_the_subject(doors: Doors) -> None:
    found = rows(
        doors,
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('p', 'f') AND conrelid IN ('vault.record'::regclass, 'vault.data_key'::regclass, 'vault.lookup'::regclass)",
    )
    assert found
    for table, definition in found:
        assert (
            "subject_id" in str(definition)
            or "REFERENCES vault.dataset" in str(definition)
            or "REFERENCES vault.compartment" in str(definition)
        ), (table, definition)


def test_the_servers_log_settings_keep_values_out(doors: Doors) -> None:
    wanted = {
        "log_statement": "none", "log_min_duration_statement": "-1", "log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0",
        "debug_print_plan": "off", "debug_print_parse": "off", "debug_print_rewritten": "off", "log_error_verbosity": "terse",
        "max_prepared_transactions": "0", "synchronous_commit": "on", "fsync": "on", "full_page_writes": "on",
    }  # fmt: skip
    found = dict(rows(doors, "SELECT name, setting FROM pg_settings"))  # type: ignore[arg-type]
    assert {name: found[name] for name in wanted} == wanted  # type: ignore[index]
