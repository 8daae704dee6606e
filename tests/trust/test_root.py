"""The root key's providers apart from their servers: the sealed file byte by byte, and the requests to OpenBao as its transit engine documents them.

tests/keys/test_providers.py tries the same providers against a real server and a real token.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from armonika.store.private_files import write_private
from armonika.trust import crypto
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.providers import NAMES, RootKeyError, choose, openbao, sealed_file
from armonika.trust.keys.providers.openbao import OpenBao
from armonika.trust.keys.providers.sealed_file import SealedFile

KEY, PLACE = b"k" * 32, b"place"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOT", "ROOT_PASSPHRASE_FILE", "OPENBAO_ADDRESS", "OPENBAO_TOKEN_FILE", "OPENBAO_KEY", "OPENBAO_MOUNT"):
        monkeypatch.delenv(f"ARMONIKA_{name}", raising=False)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_provider_is_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NAMES == ("file", "pkcs11", "openbao")
    assert choose(tmp_path).name == choose(tmp_path, "file").name == "file"
    monkeypatch.setenv("ARMONIKA_ROOT", "")
    assert choose(tmp_path).name == "file"
    monkeypatch.setenv("ARMONIKA_ROOT", "cloud")
    with pytest.raises(RootKeyError, match="must be one of file, pkcs11, openbao"):
        choose(tmp_path)
    assert choose(tmp_path, "file").name == "file"
    for name in ("pkcs11", "openbao"):
        with pytest.raises(RootKeyError, match="set"):
            choose(tmp_path, name)


def test_a_sealed_file_holds_one_version_or_two(tmp_path: Path) -> None:
    root = SealedFile(tmp_path)
    path = tmp_path / "root.key"
    assert not root.exists()
    root.create()
    assert root.exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = json.loads(path.read_bytes())
    assert set(first) == {"format", "version", "check", "key"}
    assert (first["format"], first["version"]) == ("armonika-root-key/1", 1)
    one = base64.b64decode(first["key"])
    assert len(one) == 32
    assert first["check"] == crypto.sha256(b"armonika-root-key/1" + one).hex()[:16]
    assert root.legacy() == one
    with pytest.raises(RootKeyError, match="is not overwritten"):
        root.create()
    wrapped = root.wrap(KEY, PLACE)
    assert wrapped.startswith("1:")
    assert crypto.unseal(one, base64.b64decode(wrapped[2:]), PLACE) == KEY
    root.renew()
    both = json.loads(path.read_bytes())
    assert [entry["version"] for entry in both["versions"]] == [1, 2]
    newer = root.wrap(KEY, PLACE)
    assert newer.startswith("2:")
    assert root.unwrap(wrapped, PLACE) == root.unwrap(newer, PLACE) == KEY
    assert root.describe() == {"provider": "file", "place": str(path), "version": "2", "protection": "owner-only"}
    root.destroy_older()
    assert json.loads(path.read_bytes())["version"] == 2
    assert root.unwrap(newer, PLACE) == KEY
    before = path.stat().st_mtime_ns
    root.destroy_older()
    assert path.stat().st_mtime_ns == before
    for wrong, place in (
        (wrapped, PLACE),
        (newer, b"elsewhere"),
        ("2:!" + newer[2:], PLACE),
        ("x", PLACE),
        ("x:" + newer[2:], PLACE),
        ("", PLACE),
        ("3:" + newer[2:], PLACE),
    ):
        with pytest.raises(RootKeyError, match="is not the root key of the keyring"):
            root.unwrap(wrong, place)
    first.pop("version")
    write_private(path, json.dumps(first).encode())
    assert root.unwrap(wrapped, PLACE) == KEY, "an older release wrote no version"


def test_the_blocks_of_an_old_version_are_overwritten(tmp_path: Path) -> None:
    import os

    root = SealedFile(tmp_path)
    root.create()
    root.renew()
    held = os.open(tmp_path / "root.key", os.O_RDONLY)
    size = os.fstat(held).st_size
    root.destroy_older()
    assert os.pread(held, size, 0) == bytes(size)
    os.close(held)


def test_what_a_killed_process_left_half_written_is_overwritten_and_removed(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    left, held = tmp_path / f".root.key.{done.stdout.strip()}", tmp_path / f".root.key.{os.getpid()}"
    SealedFile(tmp_path).create()
    for path in (left, held):
        path.write_bytes((tmp_path / "root.key").read_bytes())
    with left.open("rb") as old, alone(tmp_path):
        assert not left.exists()
        assert set(old.read()) == {0}, "its blocks are overwritten"
    assert held.exists(), "a living process is at it"
    assert SealedFile(tmp_path).exists()


def test_a_passphrase_seals_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "word"
    write_private(secret, b" first \n")
    monkeypatch.setenv("ARMONIKA_ROOT_PASSPHRASE_FILE", str(secret))
    root = SealedFile(tmp_path)
    root.create()
    entry = json.loads((tmp_path / "root.key").read_bytes())
    salt = base64.b64decode(entry["argon2id"])
    opened = crypto.unseal(crypto.argon2id(b"first", salt), base64.b64decode(entry["key"]), b"armonika-root-key/1")
    assert (len(salt), len(opened)) == (crypto.SALT_BYTES, 32)
    wrapped = root.wrap(KEY, PLACE)
    assert root.unwrap(wrapped, PLACE) == KEY
    assert root.describe()["protection"] == "sealed with a passphrase"
    write_private(secret, b"second")
    with pytest.raises(RootKeyError, match="passphrase is wrong"):
        root.unwrap(wrapped, PLACE)
    write_private(secret, b" \n")
    with pytest.raises(RootKeyError, match="is empty"):
        root.unwrap(wrapped, PLACE)
    monkeypatch.delenv("ARMONIKA_ROOT_PASSPHRASE_FILE")
    with pytest.raises(RootKeyError, match="sealed with a passphrase"):
        root.unwrap(wrapped, PLACE)


def test_what_is_no_root_key_says_so(tmp_path: Path) -> None:
    root, path = SealedFile(tmp_path), tmp_path / "root.key"
    with pytest.raises(RootKeyError, match=r"is missing.*keys recover"):
        root.wrap(KEY, PLACE)
    root.create()
    whole = json.loads(path.read_bytes())
    short = {**whole, "key": b64(b"k" * 31)}
    short["check"] = crypto.sha256(b"armonika-root-key/1" + b"k" * 31).hex()[:16]
    for damaged in ({}, [], 1, {**whole, "format": "x"}, {**whole, "check": "0" * 16}, {**whole, "key": "!" + whole["key"]}, {**whole, "key": 5}, {**whole, "version": "x"}, {**whole, "versions": []},
                    {**whole, "versions": [1]}, {"format": whole["format"]}, {**whole, "argon2id": "!"}, short):  # fmt: skip
        write_private(path, json.dumps(damaged).encode())
        with pytest.raises(RootKeyError):
            root.wrap(KEY, PLACE)
        assert json.loads(path.read_bytes()) == damaged
    write_private(path, json.dumps(whole).encode()[:-20])
    with pytest.raises(RootKeyError, match="is damaged"):
        root.wrap(KEY, PLACE)
    write_private(path, json.dumps(whole).encode())
    path.chmod(0o640)
    with pytest.raises(RootKeyError, match="open to others"):
        root.wrap(KEY, PLACE)
    assert sealed_file.FILE == "root.key"


class Transit:
    """A peer that answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.asked: list[tuple[str, str, str | None, object]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                peer.asked.append(
                    (
                        self.command,
                        self.path,
                        self.headers.get("x-vault-token"),
                        json.loads(self.rfile.read(length)) if length else None,
                    )
                )
                status, body = peer.answers.pop(0)
                raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def says(self, *answers: tuple[int, object]) -> None:
        self.answers, self.asked = list(answers), []


@pytest.fixture
def transit() -> Iterator[Transit]:
    made = Transit()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def bao(transit: Transit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenBao:
    write_private(tmp_path / "token", b" hvs.x \n")
    monkeypatch.setenv("ARMONIKA_OPENBAO_ADDRESS", transit.address + "/")
    monkeypatch.setenv("ARMONIKA_OPENBAO_TOKEN_FILE", str(tmp_path / "token"))
    return OpenBao.from_environment()


def data(**content: object) -> tuple[int, object]:
    return 200, {"data": content}


def test_each_request_is_that_of_the_transit_engine(transit: Transit, bao: OpenBao) -> None:
    def asked(*wanted: tuple[str, str, object]) -> None:
        assert transit.asked == [(method, f"/v1/{path}", "hvs.x", body) for method, path, body in wanted]

    assert bao.name == "openbao"
    state = ("GET", "transit/keys/armonika-root", None)
    transit.says(data(latest_version=3))
    assert bao.exists()
    asked(state)
    transit.says((404, None))
    assert not bao.exists()
    transit.says((404, None), (204, None))
    bao.create()
    asked(
        state,
        ("POST", "transit/keys/armonika-root", {"type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False}),
    )
    transit.says(data(latest_version=1))
    with pytest.raises(RootKeyError, match="it is not replaced"):
        bao.create()
    transit.says(data(ciphertext="vault:v1:abc"))
    assert bao.wrap(KEY, PLACE) == "vault:v1:abc"
    asked(("POST", "transit/encrypt/armonika-root", {"plaintext": b64(KEY), "associated_data": b64(PLACE)}))
    transit.says(data(renewable=False, ttl=1), data(plaintext=b64(KEY)))
    assert bao.unwrap("vault:v1:abc", PLACE) == KEY
    asked(
        ("GET", "auth/token/lookup-self", None),
        ("POST", "transit/decrypt/armonika-root", {"ciphertext": "vault:v1:abc", "associated_data": b64(PLACE)}),
    )
    transit.says((204, None))
    bao.renew()
    asked(("POST", "transit/keys/armonika-root/rotate", {}))
    transit.says(data(latest_version=7), (204, None), (204, None))
    bao.destroy_older()
    asked(
        state,
        ("POST", "transit/keys/armonika-root/config", {"min_decryption_version": 7, "min_encryption_version": 7}),
        ("POST", "transit/keys/armonika-root/trim", {"min_available_version": 7}),
    )
    transit.says(data(latest_version=7))
    assert bao.describe() == {
        "provider": "openbao",
        "place": f"{transit.address} transit/armonika-root",
        "version": "7",
        "protection": "not exportable",
    }


def test_a_token_is_renewed_in_the_second_half_of_its_life(transit: Transit, bao: OpenBao) -> None:
    assert (openbao.RENEW_BELOW, openbao.SECONDS) == (0.5, 5.0)
    renew = ("POST", "/v1/auth/token/renew-self", "hvs.x", {})
    for told, renewed in (
        ({"renewable": True, "ttl": 50, "creation_ttl": 100}, True), ({"renewable": True, "ttl": 51, "creation_ttl": 100}, False), ({"renewable": True, "ttl": 1, "creation_ttl": 100}, True),
        ({"renewable": False, "ttl": 1, "creation_ttl": 100}, False), ({"renewable": True, "ttl": 0, "creation_ttl": 0}, False), ({"renewable": True, "ttl": 5}, False), ({}, False),
    ):  # fmt: skip
        transit.says(data(**told), (200, {}))
        assert bao.renew_token() is renewed, told
        assert transit.asked[1:] == ([renew] if renewed else [])


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, None, "has no encrypt/armonika-root in transit"), (403, None, "refuses the token in"), (503, None, "is sealed or not ready"), (400, None, "answers 400 to POST encrypt"),
        (500, None, "answers 500 to POST"), (200, b"{", "does not answer"), (200, b"\xff", "does not answer"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_way_out(transit: Transit, bao: OpenBao, status: int, body: object, why: str) -> None:
    transit.says((status, body))
    with pytest.raises(RootKeyError, match=why):
        bao.wrap(KEY, PLACE)
    if status == 400:
        transit.says(data(renewable=False), (400, None))
        with pytest.raises(RootKeyError, match="is not the root key of the keyring"):
            bao.unwrap("x", PLACE)
    if status == 500:
        transit.says((500, None))
        with pytest.raises(RootKeyError):
            bao.exists()


def test_where_the_server_is_must_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "token", b"t")
    with pytest.raises(RootKeyError, match="must be set"):
        OpenBao.from_environment()
    monkeypatch.setenv("ARMONIKA_OPENBAO_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(RootKeyError, match="must be set"):
        OpenBao.from_environment()
    for address, right in (
        ("https://bao.example", True), ("http://127.0.0.1:8200", True), ("http://localhost:8200", True), ("http://[::1]:8200", True), ("http://bao.example", False),
        ("http://127.0.0.1.evil.example", False), ("ftp://x", False), ("http://localhost.evil", False),
    ):  # fmt: skip
        monkeypatch.setenv("ARMONIKA_OPENBAO_ADDRESS", address)
        if right:
            assert OpenBao.from_environment()._address == address
        else:
            with pytest.raises(RootKeyError, match="must begin with https"):
                OpenBao.from_environment()
    monkeypatch.setenv("ARMONIKA_OPENBAO_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("ARMONIKA_OPENBAO_KEY", "k")
    monkeypatch.setenv("ARMONIKA_OPENBAO_MOUNT", "m")
    other = OpenBao.from_environment()
    assert (other._key, other._mount) == ("k", "m")
    with pytest.raises(RootKeyError, match=r"at http://127\.0\.0\.1:9 does not answer"):
        other.wrap(KEY, PLACE)
    made: Any = OpenBao("https://x/", tmp_path / "token")
    assert (made._address, made._key, made._mount) == ("https://x", "armonika-root", "transit")
