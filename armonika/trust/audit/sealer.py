"""Seals audit rows: numbers them in the database, then writes bundles, tiles and a signed checkpoint.

The database is the source: leaf rows are committed first, files follow, the checkpoint comes last. After a crash at any step the files are
made again from the leaf rows. A second sealer finds another tree size (AR409) and yields.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from armonika.trust import crypto
from armonika.trust.audit import entry, note, proofs, tiles
from armonika.trust.audit.cosigning import cosignatures
from armonika.trust.audit.tiles import WIDTH
from armonika.trust.audit.tree import Frontier, leaf_hash

BATCH = 20000
_SELECT = ", ".join(entry.COLUMNS)


class SealerError(Exception):
    """Sealing cannot go on; the message says why."""


class AnotherSealer(SealerError):
    """Another sealer appended first."""


class Sealer:
    """One sealer over one database and one folder."""

    def __init__(
        self, connection: psycopg.Connection[Any], folder: Path, origin: str, private: bytes, witness: str | None = None
    ) -> None:
        self._connection, self._folder, self._origin, self._private = connection, folder, origin, private
        self._witness, self._cosigned, self._note = witness, 0, b""
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = [[]]
        self._bundle: list[bytes] = []

    def load(self) -> int:
        """Rebuilds the state from the leaf rows and makes files that are missing. Returns the tree's size."""
        tiles.write(self._folder / "log.vkey", f"{note.vkey(self._origin, crypto.ed25519_public(self._private))}\n".encode())
        at = 0
        while True:
            rows = self._connection.execute(f"SELECT leaf_hash, {_SELECT} FROM vault.leaves(%s, %s)", (at, BATCH)).fetchall()
            if not rows:
                break
            encoded = [entry.encode(row[1:]) for row in rows]
            for row, content in zip(rows, encoded, strict=True):
                if leaf_hash(content) != bytes(row[0]):
                    raise SealerError(
                        f"entry {row[1]} differs from its sealed leaf: the log was altered. Run `armonika audit verify`."
                    )
            self._extend(encoded, rebuild=True)
            at += len(rows)
        self._write_edge()
        self._checkpoint()
        return at

    def seal(self) -> int:
        """Seals what is committed and not sealed yet. Returns how many entries."""
        rows = self._connection.execute(f"SELECT {_SELECT} FROM vault.unsealed(%s)", (BATCH,)).fetchall()
        if not rows:
            return 0
        encoded = [entry.encode(row) for row in rows]
        try:
            self._connection.execute(
                "SELECT vault.append_leaves(%s, %s::bigint[], %s::bytea[])",
                (self._frontier.size, [row[0] for row in rows], [leaf_hash(content) for content in encoded]),
            )
        except psycopg.Error as error:
            if error.sqlstate == "AR409":
                raise AnotherSealer("another sealer is at work on this log") from None
            raise
        self._extend(encoded)
        self._write_edge()
        self._checkpoint()
        return len(rows)

    def _extend(self, encoded: Sequence[bytes], *, rebuild: bool = False) -> None:
        for content in encoded:
            hashed = leaf_hash(content)
            self._frontier.append(hashed)
            self._levels[0].append(hashed)
            self._bundle.append(content)
            if len(self._bundle) == WIDTH:
                number = self._frontier.size // WIDTH - 1
                self._write(tiles.tile_path("entries", number), tiles.bundle(self._bundle), rebuild)
                self._bundle = []
                self._full_tile(0, number, rebuild)

    def _full_tile(self, level: int, number: int, rebuild: bool) -> None:
        hashes = self._levels[level]
        self._write(tiles.tile_path(level, number), b"".join(hashes), rebuild)
        self._levels[level] = []
        if len(self._levels) == level + 1:
            self._levels.append([])
        self._levels[level + 1].append(tiles.up(hashes))
        if len(self._levels[level + 1]) == WIDTH:
            self._full_tile(level + 1, number // WIDTH, rebuild)

    def _write(self, name: str, content: bytes, rebuild: bool) -> None:
        path = self._folder / name
        if not (rebuild and path.exists()):
            tiles.write(path, content)

    def _write_edge(self) -> None:
        number = self._frontier.size // WIDTH
        if self._bundle:
            tiles.write(self._folder / tiles.tile_path("entries", number, len(self._bundle)), tiles.bundle(self._bundle))
        for level, hashes in enumerate(self._levels):
            if hashes:
                tiles.write(self._folder / tiles.tile_path(level, number // WIDTH**level, len(hashes)), b"".join(hashes))

    def _checkpoint(self) -> None:
        text = note.checkpoint(self._origin, self._frontier.size, self._frontier.root())
        self._note = note.sign(text, self._origin, self._private)
        tiles.write(self._folder / "checkpoint", self._note)

    def cosign(self) -> bool:
        """Adds the witness's signatures to the newest checkpoint. Returns whether it has them; without a witness it never has."""
        size = self._frontier.size
        if self._witness is None or not self._note:
            return False
        if self._cosigned == size and size:
            return True
        found = cosignatures(self._witness, self._note, proofs.folder(self._folder), self._cosigned)
        if found is None:
            return False
        lines, self._cosigned = found
        tiles.write(self._folder / "checkpoint", self._note + lines)
        return True
