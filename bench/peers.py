"""Peers measured in the same run by the same generator: any HTTP service by `--peer-url`, and OpenBao's transit engine from its wheel."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

UNIQUE = "{unique}"
BAO = Path(sys.executable).parent / "bao"


@dataclass(frozen=True)
class Peer:
    """One request of a peer, sent again and again; `values` are the values that one request opens or stores. Where it says `{unique}`, each sending has
    32 other characters."""

    name: str
    port: int
    request: str
    values: int = 1

    @property
    def once(self) -> bool:
        """Whether a request may be sent but once."""
        return UNIQUE in self.request

    def requests(self, count: int) -> list[str]:
        """What to send: `count` requests that differ, or the one."""
        return [self.request.replace(UNIQUE, uuid.uuid4().hex) for _ in range(count)] if self.once else [self.request]


def parse(line: str) -> Peer:
    """A peer of the command line: `{"name": …, "url": "http://127.0.0.1:…", "method": …, "headers": {…}, "body": {…}, "values": 1}`. Loopback only."""
    given: dict[str, Any] = json.loads(line)
    parts = urlsplit(given["url"])
    if parts.hostname not in ("127.0.0.1", "localhost", "::1") or parts.scheme != "http":
        raise ValueError("a peer is measured on loopback, over http")
    body = json.dumps(given["body"]) if "body" in given else ""
    headers = {
        "Host": f"localhost:{parts.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body.replace(UNIQUE, "0" * 32).encode())),
    } | given.get("headers", {})
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Peer(
        given["name"],
        parts.port or 80,
        f"{given.get('method', 'GET')} {target} HTTP/1.1\r\n{head}\r\n{body}",
        int(given.get("values", 1)),
    )


@contextmanager
def openbao() -> Iterator[list[Peer]]:
    """A real OpenBao server with its audit device, a transit key, and one value to decrypt: single, and 64 in a batch. Empty without the wheel."""
    if not BAO.exists():
        yield []
        return
    folder = Path(tempfile.mkdtemp(prefix="armonika-bao-", dir="/var/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "data").mkdir()
    (folder / "bao.hcl").write_text(
        f'storage "raft" {{\n path = "{folder}/data"\n node_id = "one"\n}}\nlistener "tcp" {{\n address = "127.0.0.1:{port}"\n tls_disable = true\n}}\n'
        f'api_addr = "http://127.0.0.1:{port}"\ncluster_addr = "http://127.0.0.1:{port + 1}"\n'
        f'audit "file" "bench" {{\n options {{\n file_path = "{folder}/audit.log"\n }}\n}}\n'
    )
    with (folder / "bao.log").open("wb") as output:
        process = subprocess.Popen([str(BAO), "server", f"-config={folder}/bao.hcl"], stdout=output, stderr=output)
    token = ""

    def call(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for _ in range(200):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": token}, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    raw = answer.read()
                    return json.loads(raw) if raw else {}
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"OpenBao does not answer: {(folder / 'bao.log').read_text()[-500:]}")

    try:
        made = call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        token = made["root_token"]
        call("PUT", "sys/unseal", {"key": made["keys_base64"][0]})
        call("POST", "sys/mounts/transit", {"type": "transit"})
        call("POST", "transit/keys/bench", {})
        sealed = call("POST", "transit/encrypt/bench", {"plaintext": base64.b64encode(b"a value of a person").decode()})["data"][
            "ciphertext"
        ]
        line = {"url": f"http://127.0.0.1:{port}/v1/transit/decrypt/bench", "method": "POST", "headers": {"X-Vault-Token": token}}
        yield [
            parse(json.dumps(line | {"name": "OpenBao decrypt", "body": {"ciphertext": sealed}})),
            parse(
                json.dumps(
                    line
                    | {
                        "name": "OpenBao decrypt, 64 at once",
                        "body": {"batch_input": [{"ciphertext": sealed}] * 64},
                        "values": 64,
                    }
                )
            ),
        ]
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
