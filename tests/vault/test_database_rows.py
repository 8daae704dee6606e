"""The database's side of a verification, on rows that somebody with a superuser's rights wrote. Everything inside a transaction that is undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armonika.store.partitions import WIDTH
from armonika.trust.audit.verify_rows import DatabaseRows
from tests.vault.stage import Stage
from tests.vault.undone import rows, undone

# Entries 101 to 104 of the log are its leaves 0 to 3; nothing else was ever written. The clock that counts is the server's.
LAID = (
    "SET LOCAL session_replication_role = replica",
    "DELETE FROM vault.leaf",
    "CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM vault.audit ORDER BY audit_id DESC LIMIT 1",
    "DELETE FROM vault.audit",
    "UPDATE one SET fields = 5, dataset = (SELECT id FROM vault.dataset WHERE name = 'account'), at = clock_timestamp() - interval '1 hour'",
    "INSERT INTO vault.leaf SELECT n, 101 + n, sha256(n::text::bytea) FROM generate_series(0, 3) n",
    "UPDATE vault.seal_state SET settled = 104",
)
AUDIT = "INSERT INTO vault.audit SELECT (one).* FROM (SELECT jsonb_populate_record(o, jsonb_build_object('audit_id', n) || %s::jsonb) AS one FROM one o, unnest(%s::bigint[]) n) x"


@pytest.fixture
def laid(stage: Stage) -> Iterator[Stage]:
    stage.person()
    with undone(stage):
        for statement in LAID:
            rows(stage, statement)
        written(stage, 101, 102, 103, 104)
        yield stage


def written(stage: Stage, *numbers: int, more: str = "{}") -> None:
    rows(stage, AUDIT, more, list(numbers))


def leaf(stage: Stage, number: int, audit: int) -> None:
    rows(stage, "INSERT INTO vault.leaf VALUES (%s, %s, sha256(''))", number, audit)


def loosened(stage: Stage) -> None:
    """Whoever may do everything to the tables takes their keys and checks away first."""
    for statement in ("leaf DROP CONSTRAINT leaf_pkey", "leaf DROP CONSTRAINT leaf_audit_id_key", "leaf DROP CONSTRAINT leaf_leaf_no_check", "audit DROP CONSTRAINT audit_pkey CASCADE"):  # fmt: skip
        rows(stage, f"ALTER TABLE vault.{statement}")


def numbers(held: DatabaseRows, first: int, count: int) -> list[tuple[int, int | None]]:
    return [(row["leaf_no"], row["audit_id"]) for row in held.rows(first, count)]


def test_rows_come_in_pages_and_one_that_stands_twice_comes_too(laid: Stage) -> None:
    held = DatabaseRows(laid.admin)
    assert numbers(held, 0, 2) == [(0, 101), (1, 102)]
    assert numbers(held, 2, 10) == [(2, 103), (3, 104)]
    assert numbers(held, 4, 10) == []
    (first,) = held.rows(0, 1)
    assert first["fields"] == [name for name, at in laid.account.ordinals.items() if at in (1, 3)]
    assert first["dataset"] == "account"
    assert first["at"].endswith("Z"), "text, of which no calendar makes anything else"
    rows(laid, "DELETE FROM vault.audit WHERE audit_id = 103")
    assert numbers(held, 2, 1) == [(2, None)]
    loosened(laid)
    leaf(laid, 1, 102)
    assert numbers(held, 1, 2) == [(1, 102), (1, 102), (2, None)]
    written(laid, 102)
    assert numbers(held, 1, 2) == [(1, 102)] * 3, "never more than one too many"


def test_no_name_of_the_database_is_looked_for_where_somebody_put_it(laid: Stage) -> None:
    rows(laid, "CREATE FUNCTION public.to_char(timestamptz, text) RETURNS text LANGUAGE sql AS 'SELECT ''forged'''")
    rows(laid, "CREATE FUNCTION public.to_char(timestamp, text) RETURNS text LANGUAGE sql AS 'SELECT ''forged'''")
    rows(laid, "SELECT set_config('search_path', 'public, pg_catalog', true)")
    assert DatabaseRows(laid.admin).rows(0, 1)[0]["at"] != "forged"


def test_a_whole_log_has_nothing_beyond_it(laid: Stage) -> None:
    held = DatabaseRows(laid.admin)
    assert held.beyond(4) is None
    assert held.beyond(3) is not None, "an old row whose leaf is behind the log that was signed"
    written(laid, 105, 106, more='{"at": "2999-01-01"}')
    assert held.beyond(4) is None, "not sealed yet"
    leaf(laid, 4, 105)
    assert held.beyond(4) is None, "sealed while it was looked at"
    rows(laid, "UPDATE vault.seal_state SET settled = 105")
    assert DatabaseRows(laid.admin).beyond(4) is None
    rows(laid, "UPDATE vault.seal_state SET settled = 106")
    assert DatabaseRows(laid.admin).beyond(4) == _stray(106, 1)


def _stray(number: int, count: int) -> str:
    return f"audit {number} stands in the database and not in the log: inserted after its time was sealed ({count} in all)"


def test_rows_that_were_slipped_in_are_counted_and_the_first_is_named(laid: Stage) -> None:
    written(laid, -5, 7, 99)
    assert DatabaseRows(laid.admin).beyond(4) == _stray(-5, 3)
    rows(laid, "DELETE FROM vault.audit WHERE audit_id < 100")
    written(laid, 200, more='{"at": "2020-01-01"}')
    assert DatabaseRows(laid.admin).beyond(4) == _stray(200, 1), "its time was sealed, whatever its number"


@pytest.mark.parametrize("number", [-1, 5, 10_000_000])
def test_leaf_numbers_that_no_entry_has_are_named(laid: Stage, number: int) -> None:
    loosened(laid)
    leaf(laid, number, 7)
    said = f"audit 7 has the leaf number {number} in the database: there is no such entry in the log"
    assert DatabaseRows(laid.admin).beyond(4) == said


def test_without_the_sealers_state_nobody_can_say(laid: Stage) -> None:
    rows(laid, "DELETE FROM vault.seal_state")
    said = "vault.seal_state is empty: nobody can say which rows should have been sealed"
    assert DatabaseRows(laid.admin).beyond(4) == said


def _none(first: int, last: int) -> str:
    return f"the numbers {first} to {last} are in no partition of vault.audit: it was detached or dropped"


def test_partitions_that_are_gone_are_named_as_far_as_entries_were_sealed(laid: Stage) -> None:
    held, end = DatabaseRows(laid.admin), 2 * WIDTH
    assert held.gaps() == []
    for name in ("audit_000002", "audit_old"):
        rows(laid, f"ALTER TABLE vault.audit DETACH PARTITION vault.{name}")
        assert held.gaps() == ([_none(0, 104)] if name == "audit_old" else []), "nothing was written beyond"
    leaf(laid, 4, end)
    assert held.gaps() == [_none(0, end)], "both, up to the newest that was sealed"
    rows(laid, f"ALTER TABLE vault.audit ATTACH PARTITION vault.audit_old FOR VALUES FROM (MINVALUE) TO ({end})")
    assert held.gaps() == [_none(end, end)]
    rows(laid, f"CREATE TABLE vault.far PARTITION OF vault.audit FOR VALUES FROM ({4 * WIDTH}) TO ({5 * WIDTH})")
    leaf(laid, 5, 4 * WIDTH)
    third = rows(laid, "SELECT to_regclass('vault.audit_000003') IS NOT NULL") == [(True,)]
    assert held.gaps() == [_none(end, (3 if third else 4) * WIDTH - 1)], "one in the middle"
    rows(laid, "DELETE FROM vault.leaf")
    rows(laid, "ALTER TABLE vault.audit DETACH PARTITION vault.audit_old")
    assert held.gaps() == [], "nothing was sealed at all"
