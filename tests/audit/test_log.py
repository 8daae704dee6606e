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
from psycopg.rows import dict_row

from armonika.trust import crypto
from armonika.trust.audit import note, tiles, tree
from armonika.trust.audit.sealer import AnotherSealer, Sealer
from armonika.trust.audit.verify import Report, verify
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
        def rows(first: int, count: int) -> list[dict[str, Any]]:
            with psycopg.connect(self.doors.server.admin_dsn, row_factory=dict_row) as admin:  # type: ignore[attr-defined]
                return admin.execute("SELECT * FROM vault.leaves(%s, %s)", (first, count)).fetchall()

        return verify(self.folder, (self.folder / "log.vkey").read_text(), rows if database else None, kept)


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
    assert "root" in log.verify(database=False).findings[0]


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


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            "UPDATE vault.audit SET purpose = purpose + 1 WHERE audit_id = (SELECT audit_id FROM vault.leaf WHERE leaf_no = 5)",
            "entry 5",
        ),
        ("DELETE FROM vault.audit WHERE audit_id = (SELECT audit_id FROM vault.leaf WHERE leaf_no = 7)", "entry 7"),
        ("DELETE FROM vault.leaf WHERE leaf_no = 9", "entry 9"),
        ("UPDATE vault.leaf SET audit_id = -audit_id WHERE leaf_no = 11", "entry 11"),
        ("UPDATE vault.leaf SET leaf_hash = sha256(leaf_hash) WHERE leaf_no = 12", "entry 12"),
    ],
)
def test_a_superuser_who_changes_sealed_rows_is_found_and_the_entry_named(log: Log, doors: Doors, change: str, word: str) -> None:
    def rows(connection: psycopg.Connection[Any]):  # type: ignore[no-untyped-def]
        return lambda first, count: connection.execute("SELECT * FROM vault.leaves(%s, %s)", (first, count)).fetchall()

    with psycopg.connect(doors.server.admin_dsn, row_factory=dict_row) as admin:  # type: ignore[attr-defined]
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute(change.encode())
        report = verify(log.folder, (log.folder / "log.vkey").read_text(), rows(admin))
        admin.rollback()
    assert report.findings
    assert word in report.findings[0]


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
