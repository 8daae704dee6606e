"""Seals audit rows: numbers them in the database, then writes bundles, tiles and a signed checkpoint.

The database is the source: leaf rows are committed first, files follow, the checkpoint comes last. After a crash at any step the files behind it
are made again from the leaf rows. A second sealer finds another tree size (AR409) and yields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from armonika.trust import crypto
from armonika.trust.audit import entry, note, proofs, tiles
from armonika.trust.audit.cosigning import Post, cosignatures
from armonika.trust.audit.files import read_file
from armonika.trust.audit.tiles import WIDTH
from armonika.trust.audit.tree import Frontier, ProofError, leaf_hash
from armonika.trust.audit.verify import Broken, read_checkpoint

BATCH = 10_000
BEHIND = 3
"""So many pages may be sealed whose files are still being written."""
AHEAD = 4
"""So many full pages are looked for while the one before is still being encoded; the next is looked for from the beginning, for what came late."""
RECHECKED = 100_000
# Ids come as text: they are only ever written out.
_SELECT = ", ".join(f"{name}::text" if name in ("actor", "subject", "record") else name for name in entry.COLUMNS)


class SealerError(Exception):
    """Sealing cannot go on; the message says why."""


class AnotherSealer(SealerError):
    """Another sealer appended first."""


class Sealer:
    """One sealer over one database and one folder. `keys` gives the witness's verifier keys where they are known; `refusal` says why it did not cosign last."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        folder: Path,
        origin: str,
        private: bytes,
        witness: Post | None = None,
        keys: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._connection, self._folder, self._origin, self._private = connection, folder, origin, private
        self._witness, self._keys, self._cosigned, self._note = witness, keys, 0, b""
        self.refusal = ""
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = [[]]
        self._bundle: list[bytes] = []
        self._files: list[tuple[Path, bytes]] = []
        self._trusted, self._unpublished = 0, False
        self._files_pool, self._rows_pool = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._writing: deque[Future[None]] = deque()
        self._ahead: Future[list[Any]] | None = None
        self._pages = self._size = 0

    def load(self) -> int:
        """Rebuilds the state and makes files that are missing. Returns the tree's size.

        What lies more than `RECHECKED` entries behind the signed checkpoint is taken from the tiles, whose root the checkpoint signs; the rest is
        read from the database and compared. Raises SealerError when rows, leaves and checkpoint are not of one log.
        """
        tiles.write(self._folder / "log.vkey", f"{note.vkey(self._origin, crypto.ed25519_public(self._private))}\n".encode())
        signed = self._signed()
        self._trusted = signed[0]
        at = self._resume(*signed)
        while True:
            # No page reaches over the end of the signed log: there its root is compared.
            page = min(BATCH, signed[0] - at) if at < signed[0] else BATCH
            rows = self._connection.execute(
                f"SELECT leaf_hash, {_SELECT} FROM vault.leaves(%s, %s)", (at, page), binary=True
            ).fetchall()
            if not rows:
                break
            encoded = [entry.encode(row[1:]) for row in rows]
            hashed = [leaf_hash(content) for content in encoded]
            for row, leaf in zip(rows, hashed, strict=True):
                if leaf != bytes(row[0]):
                    raise SealerError(
                        f"entry {row[1]} differs from its sealed leaf: the log was altered. Run `armonika audit verify`."
                    )
            self._extend(encoded, hashed, rebuild=True)
            at += len(rows)
            if at == signed[0] and self._frontier.root() != signed[1]:
                raise SealerError("the database holds another log than the signed checkpoint. Run `armonika audit verify`.")
        if at < signed[0]:
            raise SealerError(
                f"the database holds {at} sealed entries, the signed log {signed[0]}: it is an older copy. Start with `armonika serve`, which replays the log."
            )
        self._size = self._frontier.size
        self._write_edge()
        self._checkpoint()
        tiles.tidy(self._folder)
        return at

    def _signed(self) -> tuple[int, bytes]:
        """Size and root of the checkpoint on disk; none or an unreadable one counts as an empty log."""
        try:
            vkey = note.vkey(self._origin, crypto.ed25519_public(self._private))
            return read_checkpoint((self._folder / "checkpoint").read_bytes(), vkey)[1:]
        except (OSError, Broken):
            return 0, b""

    def _resume(self, size: int, root: bytes) -> int:
        """Takes the state of an earlier size from the tiles; 0 when all of it is to be read from the database."""
        at = max(0, size - RECHECKED) // WIDTH * WIDTH
        if at == 0:
            return 0
        held = proofs.Tiles(proofs.folder(self._folder), size)
        try:
            if held.root() != root:
                return 0
            levels = [held.partial(level, at) for level in range((at.bit_length() + 7) // 8)]
            edge = [(height, held.node(height, (at >> height) - 1)) for height in range(at.bit_length()) if at >> height & 1]
        except ProofError:
            return 0
        self._levels, self._frontier = levels, Frontier(at, edge[::-1])
        return at

    def seal(self, *, publish: bool = True) -> int:
        """Seals what is committed and not sealed yet. Returns how many entries. Who seals again at once need not publish in between: a checkpoint that
        stands for a moment alone is never seen with the witness's signatures, and while one page is encoded the files of those before it are written and the
        next is looked for.

        Raises AnotherSealer (nothing is then sealed), OSError where files cannot be written (of this page or the `BEHIND` before it: `load` makes them again)."""
        rows = self._page()
        if not rows:
            return 0
        ahead = None
        if len(rows) == BATCH and self._pages < AHEAD:
            ahead = self._rows_pool.submit(self._unsealed, rows[-1][0])
        encoded = [entry.encode(row) for row in rows]
        hashed = [leaf_hash(content) for content in encoded]
        self._written(BEHIND)
        try:
            self._connection.execute(
                "SELECT vault.append_leaves(%s, %b::bigint[], %b::bytea[])",
                (self._size, [row[0] for row in rows], hashed),
            )
        except psycopg.Error as error:
            if error.sqlstate == "AR409":
                raise AnotherSealer("another sealer is at work on this log") from None
            raise
        self._unpublished, self._ahead = True, ahead
        self._size += len(rows)
        self._writing.append(self._files_pool.submit(self._extend, encoded, hashed))
        if publish:
            self.publish()
        return len(rows)

    def _page(self) -> list[Any]:
        """The next rows to seal, which may have been looked for already."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self._pages += 1
            if rows := ahead.result():
                return rows
        self._pages = 0
        return self._unsealed(None)

    def _unsealed(self, after: int | None) -> list[Any]:
        return self._connection.execute(
            f"SELECT {_SELECT} FROM vault.unsealed(%s, %s::bigint)", (BATCH, after), binary=True
        ).fetchall()

    def publish(self) -> None:
        """Writes the checkpoint of what was sealed since the last one, and the tiles that it needs."""
        self._written()
        if self._unpublished:
            self._write_edge()
            self._checkpoint()
            self._unpublished = False

    def _written(self, behind: int = 0) -> None:
        """Waits for the files of all pages but the newest `behind`; raises what ended one, as soon as it is known."""
        while self._writing and (len(self._writing) > behind or self._writing[0].done()):
            self._writing.popleft().result()

    def _extend(self, encoded: Sequence[bytes], hashed: Sequence[bytes], *, rebuild: bool = False) -> None:
        for content, leaf in zip(encoded, hashed, strict=True):
            self._frontier.append(leaf)
            self._levels[0].append(leaf)
            self._bundle.append(content)
            if len(self._bundle) == WIDTH:
                number = self._frontier.size // WIDTH - 1
                self._keep(tiles.tile_path("entries", number), tiles.bundle(self._bundle), rebuild)
                self._bundle = []
                self._full_tile(0, number, rebuild)
        tiles.write_all(self._files)
        for path, _ in self._files:
            tiles.drop_partial(path)
        self._files = []

    def _full_tile(self, level: int, number: int, rebuild: bool) -> None:
        hashes = self._levels[level]
        self._keep(tiles.tile_path(level, number), b"".join(hashes), rebuild)
        self._levels[level] = []
        if len(self._levels) == level + 1:
            self._levels.append([])
        self._levels[level + 1].append(tiles.up(hashes))
        if len(self._levels[level + 1]) == WIDTH:
            self._full_tile(level + 1, number // WIDTH, rebuild)

    def _keep(self, name: str, content: bytes, rebuild: bool) -> None:
        path = self._folder / name
        if not (rebuild and self._lies_there(path, content)):
            self._files.append((path, content))

    def _lies_there(self, path: Path, content: bytes) -> bool:
        if self._frontier.size <= self._trusted:
            return path.exists()
        # What lies beyond the signed log may be of entries that the database lost before they were signed.
        try:
            return read_file(path, len(content)) == content
        except OSError:
            return False

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
        said: list[str] = []
        found = cosignatures(self._witness, self._note, proofs.folder(self._folder), self._cosigned, self._keys(), said.append)
        if found is None:
            self.refusal = said[0] if said else self.refusal
            return False
        self.refusal = ""
        lines, self._cosigned = found
        tiles.write(self._folder / "checkpoint", self._note + lines)
        return True
