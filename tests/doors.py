"""Open vaults of several doors on the test server, and raw connections with the same rights."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from armonika.trust.vault import Vault
from armonika.trust.vault.types import Created, NewRecord, SecretHash

FIELDS = ("name", "email", "company", "phone", "role")


@dataclass
class Doors:
    """Open vaults of the doors under test, and raw connections with the same rights."""

    server: object
    site: Vault
    console: Vault
    api: Vault
    verifier: Vault
    token: SecretHash

    def person(self, **values: str) -> Created:
        """A new member of a new organisation, made through the machine API's role."""
        return self.people(1, **values)[0]

    def people(self, count: int, org: UUID | None = None, **values: str) -> list[Created]:
        made = [
            NewRecord("account", {"name": "N", "email": f"u{uuid4().hex}@org.example", "company": "C", "role": "R"} | values, "organisation", kind="member", org=org or uuid4())
            for _ in range(count)
        ]  # fmt: skip
        return self.api.create(self.token, "provide", "integration", made)

    def raw(self, door: str = "api", **options: object) -> psycopg.Connection[tuple[object, ...]]:
        """A plain connection as a door's database role: what an attacker inside that process has."""
        credentials = self.server.provisioned.credentials(door)  # type: ignore[attr-defined]
        conninfo = make_conninfo(self.server.dsn, user=credentials.database_user, password=credentials.database_password)  # type: ignore[attr-defined]
        return psycopg.connect(conninfo, **options)  # type: ignore[arg-type]

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.server.admin_dsn, autocommit=True)  # type: ignore[attr-defined]
