"""docs/data-model.md is the contract between the parts: every table, column and operation of the vault stands in it, and nothing that is not there."""

from __future__ import annotations

import re

import psycopg

from armonika.trust.vault import AsyncVault, Vault
from tests.conftest import Server
from tests.live import CHECKOUT

PAGE = (CHECKOUT / "docs" / "data-model.md").read_text()


def rows_of_page() -> dict[str, str]:
    """Each table's row, by its name; of a row of several tables each has the same."""
    found = {}
    for line in PAGE.partition("## Tables")[2].partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            for name in re.findall(r"\w+", " ".join(re.findall("`([^`]+)`", line.split("|")[1]))):
                found[name] = line
    return found


def test_every_table_and_column_is_in_the_page(server: Server) -> None:
    with psycopg.connect(server.admin_dsn) as connection:
        columns = connection.execute(
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)"
        ).fetchall()
    page = rows_of_page()
    assert {table for table, _ in columns} == set(page)
    entry = PAGE.partition("An audit row:")[2].partition("\n\n")[0]
    lacking = [
        f"{table}.{column}"
        for table, column in columns
        if not re.search(rf"\b{column}\b", page[table] + (entry if table == "audit" else ""))
    ]
    assert not lacking


def test_every_operation_is_in_the_page(server: Server) -> None:
    with psycopg.connect(server.admin_dsn) as connection:
        known = {name for (name,) in connection.execute("SELECT name FROM vault.operation").fetchall()}
    told = PAGE.partition("Operations: ")[2].partition("Outcomes:")[0]
    assert set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join(re.findall("`([^`]+)`", told)))) == known


def test_every_method_of_a_vault_is_in_the_page_and_each_in_it_is_there() -> None:
    page = PAGE.partition("## Python")[2]
    methods = {name for vault in (Vault, AsyncVault) for name in dir(vault) if not name.startswith("_")}
    assert not {name for name in methods if not re.search(rf"\b{name}\b", page)}
    assert set(re.findall(r"\bvault\.(\w+)", page.replace("armonika.trust.vault", ""))) <= methods | {"service"}
