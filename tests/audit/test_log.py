"""The tree against RFC 6962, and a log that is attacked: every tampering is named."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika.trust import crypto
from armonika.trust.audit import note, tiles, tree
from armonika.trust.audit.sealer import AnotherSealer, Sealer
from armonika.trust.audit.verify import Report, verify
from armonika.trust.audit.verify_rows import DatabaseRows
from tests.doors import Doors

# Leaves and roots of the reference implementation of Certificate Transparency (merkle_tree_test.cc), sizes 1 to 8.
LEAVES = [
    bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)  # fmt: skip


def test_roots_are_those_of_the_reference() -> None:
    hashed = [tree.leaf_hash(leaf) for leaf in LEAVES]
    frontier = tree.Frontier()
    assert frontier.root() == hashlib.sha256(b"").digest()
    for size, wanted in enumerate(ROOTS, start=1):
        frontier.append(hashed[size - 1])
        assert tree.root(hashed[:size]).hex() == wanted == frontier.root().hex()


@given(st.integers(1, 70), st.data())
def test_proofs_prove_and_altered_ones_do_not(size: int, data: Any) -> None:
    leaves = [tree.leaf_hash(str(n).encode()) for n in range(size)]
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path, proof, root = tree.inclusion(leaves, index), tree.consistency(leaves, old), tree.root(leaves)
    tree.verify_inclusion(leaves[index], index, size, path, root)
    tree.verify_consistency(old, size, tree.root(leaves[:old]), root, proof)
    with pytest.raises(tree.ProofError):
        tree.verify_inclusion(tree.leaf_hash(b"x"), index, size, path, root)
    with pytest.raises(tree.ProofError):
        tree.verify_inclusion(leaves[index], index, size, [*path, b"\0" * 32], root)
    with pytest.raises(tree.ProofError):
        tree.verify_consistency(old, size, tree.root(leaves[:old]), b"\0" * 32, proof)
    if proof:
        with pytest.raises(tree.ProofError):
            tree.verify_consistency(old, size, tree.root(leaves[:old]), root, proof[:-1])


def test_tile_names_follow_the_specification() -> None:
    assert tiles.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.tile_path("entries", 5, 17) == "tile/entries/005.p/17"


class Log:
    """A sealer on the real database, with a folder of its own."""

    def __init__(self, doors: Doors, folder: Path) -> None:
        self.doors, self.folder = doors, folder
        credentials = doors.server.provisioned.credentials("sealer")  # type: ignore[attr-defined]
        self.key = credentials.log_key
        self.connection = doors.raw("sealer", autocommit=True)

    def sealer(self) -> Sealer:
        assert self.key is not None
        made = Sealer(self.connection, self.folder, "armonika.test/audit", self.key)
        made.load()
        return made

    def verify(self, kept: bytes | None = None, database: bool = True) -> Report:
        with psycopg.connect(self.doors.server.admin_dsn) as admin:  # type: ignore[attr-defined]
            return self.verify_by(admin, kept) if database else verify(self.folder, self.vkey, None, kept)

    def verify_by(self, admin: psycopg.Connection[Any], kept: bytes | None = None) -> Report:
        held = DatabaseRows(admin)
        return verify(self.folder, self.vkey, held.rows, kept, beyond=held.beyond)

    @property
    def vkey(self) -> str:
        return (self.folder / "log.vkey").read_text()


@pytest.fixture
def log(doors: Doors, tmp_path: Path) -> Iterator[Log]:
    doors.people(300)
    made = Log(doors, tmp_path / "log")
    sealer = made.sealer()
    while sealer.seal():
        pass
    yield made
    made.connection.close()


def test_a_whole_log_verifies_alone_and_with_the_database(log: Log) -> None:
    assert log.verify().findings == []
    report = log.verify(database=False)
    assert report.findings == []
    assert report.entries == report.size > 256


def test_files_are_made_again_from_the_database_and_are_the_same(log: Log) -> None:
    before = {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file() and ".p/" not in str(path)}
    shutil.rmtree(log.folder)
    log.sealer()
    after = {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file() and ".p/" not in str(path)}
    assert before == after
    assert log.verify().findings == []


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/000", "checkpoint"])
def test_any_byte_of_a_file_that_changes_is_found(log: Log, name: str) -> None:
    path = log.folder / name
    raw = path.read_bytes()
    for at in {0, len(raw) // 3, len(raw) // 2, len(raw) - 2}:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert log.verify(database=False).findings, f"{name} byte {at}"
    path.unlink()
    assert log.verify(database=False).findings
    path.write_bytes(raw)
    assert not log.verify(database=False).findings


def test_entries_and_tiles_altered_together_do_not_make_the_root(log: Log) -> None:
    bundle = (log.folder / "tile/entries/000").read_bytes()
    length = int.from_bytes(bundle[:2], "big")
    altered = bundle[2 : 2 + length].replace(b"granted", b"refused")
    (log.folder / "tile/entries/000").write_bytes(bundle[:2] + altered + bundle[2 + length :])
    hashes = (log.folder / "tile/0/000").read_bytes()
    (log.folder / "tile/0/000").write_bytes(tree.leaf_hash(altered) + hashes[32:])
    assert log.verify(database=False).findings[0].startswith("tile 1/000 does not hold the hash of tile 0/000: ")


def test_a_truncated_and_a_forked_log_are_found_by_a_kept_checkpoint(log: Log) -> None:
    kept = (log.folder / "checkpoint").read_bytes()
    assert log.verify(kept, database=False).findings == []
    assert log.key is not None
    entries = [f'{{"audit_id":{n}}}'.encode() for n in range(3)]
    shutil.rmtree(log.folder / "tile")
    tiles.write(log.folder / tiles.tile_path("entries", 0, 3), tiles.bundle(entries))
    hashed = [tree.leaf_hash(content) for content in entries]
    tiles.write(log.folder / tiles.tile_path(0, 0, 3), b"".join(hashed))
    tiles.write(
        log.folder / "checkpoint",
        note.sign(note.checkpoint("armonika.test/audit", 3, tree.root(hashed)), "armonika.test/audit", log.key),
    )
    assert log.verify(database=False).findings == [], "positive control: by itself the forged log is consistent"
    assert "truncated" in log.verify(kept, database=False).findings[0]


ROW = "(SELECT audit_id FROM vault.leaf WHERE leaf_no = %d)"
SLIPPED = (
    "INSERT INTO vault.audit SELECT %d, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id "
    f"FROM vault.audit WHERE audit_id = {ROW % 3};"
)
LEAF = "INSERT INTO vault.leaf SELECT %s, %s, leaf_hash FROM vault.leaf WHERE leaf_no = 3;"
NO_KEY = "ALTER TABLE vault.audit DROP CONSTRAINT audit_pkey CASCADE;"
DOCTORED = """CREATE TABLE public.before AS SELECT * FROM vault.leaves(0, 100);
    CREATE OR REPLACE FUNCTION vault.leaves(from_no bigint, most int) RETURNS TABLE (leaf_no bigint, leaf_hash bytea, audit_id bigint, at timestamptz, operation text,
    outcome text, door text, actor uuid, actor_role text, subject uuid, record uuid, dataset text, fields text[], purpose text, reason text, reference text, policy text)
    LANGUAGE sql AS 'SELECT * FROM public.before';"""


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (f"UPDATE vault.audit SET purpose = purpose + 1 WHERE audit_id = {ROW % 5}", "entry 5 "),
        (f"UPDATE vault.audit SET at = 'infinity' WHERE audit_id = {ROW % 5}", "entry 5 "),
        (f"UPDATE vault.audit SET at = '0044-03-15 BC' WHERE audit_id = {ROW % 5}", "entry 5 "),
        (f"UPDATE vault.audit SET door = repeat('x', 10000000) WHERE audit_id = {ROW % 5}", "entry 5 "),
        (f"DELETE FROM vault.audit WHERE audit_id = {ROW % 7}", "entry 7 "),
        ("DELETE FROM vault.leaf WHERE leaf_no = 9", "entry 9 "),
        ("UPDATE vault.leaf SET audit_id = -audit_id WHERE leaf_no = 11", "entry 11 "),
        ("UPDATE vault.leaf SET leaf_hash = sha256(leaf_hash) WHERE leaf_no = 12", "entry 12 "),
        ("ALTER TABLE vault.leaf ALTER leaf_hash DROP NOT NULL; UPDATE vault.leaf SET leaf_hash = NULL WHERE leaf_no = 12", "entry 12 "),
        (f"{NO_KEY} INSERT INTO vault.audit SELECT * FROM vault.audit WHERE audit_id = {ROW % 13}", "entry 13 "),
        (f"ALTER TABLE vault.leaf DROP CONSTRAINT leaf_pkey; {LEAF % (14, -7)}", "entry 14 "),
        (SLIPPED % -5, "audit -5 "),
        (f"UPDATE vault.seal_state SET settled = greatest(settled, 1000000); {SLIPPED % 999_998}", "audit 999998 "),
        (f"{SLIPPED % -5} {LEAF % (10_000_000, -5)}", "audit -5 "),
        (f"ALTER TABLE vault.leaf DROP CONSTRAINT leaf_leaf_no_check; {SLIPPED % -5} {LEAF % (-1, -5)}", "audit -5 "),
        ("DELETE FROM vault.seal_state", "seal_state"),
        (f"{DOCTORED} UPDATE vault.audit SET actor = gen_random_uuid() WHERE audit_id = {ROW % 5}", "entry 5 "),
        ("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old", "entry 0 "),
    ],
)  # fmt: skip
def test_a_superuser_who_changes_sealed_rows_is_found_and_the_entry_named(log: Log, doors: Doors, change: str, word: str) -> None:
    with psycopg.connect(doors.server.admin_dsn) as admin:  # type: ignore[attr-defined]
        assert log.verify_by(admin).findings == []
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute(change.encode())
        report = log.verify_by(admin)
        admin.rollback()
    assert report.findings
    assert report.findings[0].startswith(word) or word in report.findings[0]


def test_rows_that_are_sealed_while_it_looks_are_no_finding(log: Log, doors: Doors) -> None:
    """Numbers lost to aborted transactions, rows of now, and leaves behind the checkpoint that was read."""
    sealer = log.sealer()
    with psycopg.connect(doors.server.admin_dsn, autocommit=True) as admin:  # type: ignore[attr-defined]
        held = DatabaseRows(admin)
        size = log.verify().size
        doors.people(3)
        assert held.beyond(size) is None, "not sealed yet"
        assert sealer.seal() >= 3
        assert held.beyond(size) is None, "sealed meanwhile"
        assert [row["leaf_no"] for row in held.rows(size, 2)] == [size, size + 1]


def test_two_sealers_at_once_make_no_double_leaf(log: Log, doors: Doors) -> None:
    first, second = log.sealer(), Sealer(doors.raw("sealer", autocommit=True), log.folder, "armonika.test/audit", log.key)  # type: ignore[arg-type]
    second.load()
    doors.person()
    assert first.seal() >= 1
    doors.person()
    with pytest.raises(AnotherSealer):
        second.seal()
    while first.seal():
        pass
    assert log.verify().findings == []


def test_a_transaction_held_open_stops_nothing_and_comes_later(log: Log, doors: Doors) -> None:
    sealer = log.sealer()
    subject = doors.person().subject
    with doors.raw() as held:
        catalogue = doors.api.catalogue
        held.execute(
            "SELECT vault.note_refusal(%s, 1::smallint, %s::smallint, %s::smallint, %s, NULL)",
            (doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), subject),
        )
        doors.person()
        assert sealer.seal() >= 2, "newer rows are sealed although an older one is open"
        held.commit()
    assert sealer.seal() == 1, "the older row is sealed when it is there"
    for _ in range(3):
        doors.person()
        sealer.seal()
    assert log.verify().findings == []
    with doors.admin() as admin:
        row = admin.execute(
            "SELECT count(*) FROM vault.audit a WHERE NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = a.audit_id)"
        ).fetchone()
    assert row == (0,)


def test_a_checkpoint_of_another_key_is_refused(log: Log) -> None:
    private, _ = crypto.ed25519_generate()
    raw = (log.folder / "checkpoint").read_text().partition("\n\n")[0] + "\n"
    (log.folder / "checkpoint").write_bytes(note.sign(raw, "armonika.test/audit", private))
    assert log.verify(database=False).findings
