"""Versions of the policy in the database: each is kept as it was, and a change without a later date is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store.turn import MigrationError
from armonika.trust.keys.provision import provision
from tests.doors import Doors


def test_a_changed_policy_of_the_same_date_is_refused_with_the_way_out(doors: Doors) -> None:
    before = doors.site.policies()
    altered = catalogue(policy.load()) | {"sha256": "b" * 64, "version": "9"}
    with pytest.raises(MigrationError, match="later `effective_from`"):
        provision(doors.server.home / "keys", doors.server.admin_dsn, altered)  # type: ignore[attr-defined]
    assert doors.site.policies() == before
    assert doors.site.policy_document(before[0][2]) == policy.load().document


def test_a_later_version_is_not_in_force_before_its_moment(doors: Doors) -> None:
    before = doors.site.policies()
    later = catalogue(policy.load()) | {
        "sha256": "c" * 64, "version": "9", "effective_from": (datetime.now(UTC) + timedelta(days=30)).isoformat(), "purposes": ["provide"], "rules": [], "reasons": [],
    }  # fmt: skip
    provision(doors.server.home / "keys", doors.server.admin_dsn, later)  # type: ignore[attr-defined]
    assert doors.site.policies() == before
    assert doors.site.catalogue.sha256 == before[0][2]
    with doors.admin() as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute("UPDATE vault.policy_version SET document = ''")
