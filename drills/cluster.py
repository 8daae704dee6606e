"""Two PostgreSQL servers under Patroni with etcd, on loopback, for a drill. Debian's packages; everything in one folder, nothing left behind.

Every hop is TLS with certificates on both sides: etcd, Patroni's REST, replication, pg_rewind and the clients (docs/security/transport.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armonika.trust.certificates import Authority

PROGRAMS = {"etcd": "/usr/bin/etcd", "patroni": "/usr/bin/patroni", "postgres": "/usr/lib/postgresql/15/bin/postgres"}
# The lock of the primary lives `ttl` seconds after its last renewal: the outage is at most that, and the time of a promotion.
# Patroni asks for loop_wait + 2 * retry_timeout <= ttl, and 20 is the least that it takes.
TIMING = {"ttl": 20, "loop_wait": 5, "retry_timeout": 5}
SETTINGS = {
    "max_connections": 120, "wal_level": "replica", "hot_standby": "on", "max_wal_senders": 8, "wal_keep_size": "256MB", "wal_log_hints": "on", "jit": "off",
    "synchronous_commit": "on", "wal_writer_delay": "10ms", "max_prepared_transactions": 0, "password_encryption": "scram-sha-256", "log_error_verbosity": "terse",
    "ssl": "on", "ssl_min_protocol_version": "TLSv1.3", "log_statement": "none", "log_parameter_max_length": 0, "log_parameter_max_length_on_error": 0, "shared_buffers": "256MB", "max_wal_size": "2GB",
}  # fmt: skip


class DrillError(Exception):
    """The drill cannot be held, or the cluster does not do what it should; the message says which."""


def missing() -> list[str]:
    """What the drill needs and this machine has not."""
    return [name for name, path in PROGRAMS.items() if not Path(path).exists()]


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports() -> int:
    """The first of the 26 ports that a `serve` uses, below those that the system gives to connections."""
    for first in random.sample(range(12_000, 30_000, 30), 500):
        try:
            with contextlib.ExitStack() as stack:
                for port in (first, first + 1, first + 2, first + 3, first + 4, first + 25):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise DrillError("No ports are free.")


@dataclass
class Node:
    """One machine of the drill: a Patroni and its PostgreSQL."""

    name: str
    port: int
    rest: int
    patroni: subprocess.Popen[bytes] | None = None


@dataclass
class Cluster:
    """The servers. `start` makes them, `kill` is the loss of a machine, `stop` ends all."""

    folder: Path
    nodes: list[Node] = field(default_factory=lambda: [Node(name, free_port(), free_port()) for name in ("a", "b")])
    etcd_port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(24))
    etcd: subprocess.Popen[bytes] | None = None
    authority: Authority = field(default_factory=lambda: Authority(secrets.token_bytes(32)))
    clients: str = ""
    """Certificates of further authorities whose clients the servers admit (PEM): the installation's."""

    def _file(self, name: str) -> str:
        return str(self.folder / "tls" / name)

    def _certify(self) -> None:
        """Certificates for all who take part: the common name of a client is its role. `postgres` is the administrator of the installation too."""
        (self.folder / "tls").mkdir(exist_ok=True, mode=0o755)
        for name, content in (
            ("ca.pem", self.authority.certificate()),
            ("clients.pem", self.authority.certificate() + self.clients.encode()),
        ):
            Path(self._file(name)).write_bytes(content)
        issued = {name: self.authority.issue("127.0.0.1", name, 1, server=name == "server", client=True) for name in ("server", "postgres", "replication", "rewind")}  # fmt: skip
        for name, made in issued.items():
            for path in (Path(self._file(f"{name}.pem")), *([Path(self._file("admin.pem"))] if name == "postgres" else [])):
                path.touch(0o600)
                path.write_bytes(made)
                if self._user and path.name != "admin.pem":
                    os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _mutual(self, name: str, *words: str) -> dict[str, str]:
        """Paths of a certificate, its key and the authority, under the words that a program has for them."""
        return dict(zip(words, (self._file(f"{name}.pem"), self._file(f"{name}.pem"), self._file("ca.pem")), strict=True))

    @property
    def _user(self) -> pwd.struct_passwd | None:
        return pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    def _launch(self, log: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        user = self._user
        words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"] if user else []
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [*words, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8", **more},
            )  # fmt: skip

    def start(self) -> None:
        """Makes etcd, then the primary, then its synchronous standby. Raises DrillError."""
        self.folder.chmod(0o755)
        if self._user:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._certify()
        peer, client = f"https://127.0.0.1:{free_port()}", f"https://127.0.0.1:{self.etcd_port}"
        files = [word for prefix in ("", "peer-") for pair in self._mutual("server", f"--{prefix}cert-file", f"--{prefix}key-file", f"--{prefix}trusted-ca-file").items() for word in pair]  # fmt: skip
        self.etcd = self._launch(
            "etcd", PROGRAMS["etcd"], "--name", "drill", "--data-dir", str(self.folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"drill={peer}", *files, "--client-cert-auth", "--peer-client-cert-auth",
        )  # fmt: skip
        self._until(lambda: self._http(self.etcd_port, "/health")["health"] == "true", 20, "etcd does not answer")
        for node in self.nodes:
            self.start_node(node)
            if node is self.nodes[0]:
                self._until(lambda: self.primary() is node, 60, "no primary")  # noqa: B023
        self.wait_synchronous()

    def start_node(self, node: Node) -> None:
        """Starts the Patroni of one machine; a machine that was lost comes back as a standby."""
        path = self.folder / f"{node.name}.json"
        path.touch(0o600)
        path.write_text(json.dumps(self._configuration(node)))
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        node.patroni = self._launch(f"patroni-{node.name}", PROGRAMS["patroni"], str(path))

    def _configuration(self, node: Node) -> dict[str, Any]:
        """JSON is YAML. `synchronous_mode`: a commit is acknowledged when the standby has it on its disk."""
        users = {
            name: {"username": name, "password": self.password, "sslmode": "verify-full", **self._mutual(name, "sslcert", "sslkey", "sslrootcert")}
            for name in ("replication", "rewind", "postgres")
        }  # fmt: skip
        own = f"127.0.0.1:{node.rest}"
        return {
            "scope": "drill", "name": node.name, "etcd3": {"host": f"127.0.0.1:{self.etcd_port}", "protocol": "https", **self._mutual("server", "cert", "key", "cacert")},
            "restapi": {"listen": own, "connect_address": own, "verify_client": "required", **self._mutual("server", "certfile", "keyfile", "cafile")},
            "ctl": self._mutual("server", "certfile", "keyfile", "cacert"),
            "bootstrap": {
                "dcs": {**TIMING, "maximum_lag_on_failover": 1048576, "synchronous_mode": True, "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": SETTINGS}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{node.port}", "connect_address": f"127.0.0.1:{node.port}", "data_dir": str(self.folder / node.name), "bin_dir": str(Path(PROGRAMS["postgres"]).parent),
                "use_unix_socket": True, "use_unix_socket_repl": True, "pgpass": str(self.folder / f"{node.name}.pgpass"), "authentication": {"replication": users["replication"], "rewind": users["rewind"], "superuser": users["postgres"]},
                "parameters": {"unix_socket_directories": str(self.folder), **self._mutual("server", "ssl_cert_file", "ssl_key_file", "ssl_ca_file"), "ssl_ca_file": self._file("clients.pem")},
                "pg_hba": [
                    "local all all scram-sha-256", "hostssl replication replication 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
                    "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
                ],
            },
        }  # fmt: skip

    def role(self, node: Node) -> str:
        """What Patroni says of a machine: primary, sync_standby, replica, or nothing when it does not answer."""
        try:
            found = self._http(node.rest, "/patroni")
        except OSError:
            return ""
        if found.get("state") != "running":
            return ""
        return (
            "primary"
            if found.get("role") in ("master", "primary")
            else "sync_standby"
            if found.get("sync_standby")
            else "replica"
        )

    def primary(self) -> Node | None:
        """The machine that takes writes."""
        return next((node for node in self.nodes if self.role(node) == "primary"), None)

    def wait_synchronous(self, seconds: float = 90) -> None:
        """Waits until a primary and a synchronous standby stand. Raises DrillError."""
        self._until(lambda: sorted(map(self.role, self.nodes)) == ["primary", "sync_standby"], seconds, "no synchronous standby")

    def kill(self, node: Node) -> None:
        """The loss of a machine: Patroni and every process of its PostgreSQL, at once and without a word."""
        assert node.patroni is not None
        postmaster = int((self.folder / node.name / "postmaster.pid").read_text().split("\n", 1)[0])
        node.patroni.kill()
        for pid in [postmaster, *_children(postmaster)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.patroni.wait(10)

    def stop(self) -> None:
        """Ends everything and removes the folder."""
        for node in self.nodes:
            if node.patroni and node.patroni.poll() is None:
                node.patroni.terminate()
        for node in self.nodes:
            if node.patroni:
                try:
                    node.patroni.wait(30)
                except subprocess.TimeoutExpired:
                    self.kill(node)
        if self.etcd:
            self.etcd.kill()
            self.etcd.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._passfile.unlink(missing_ok=True)

    @property
    def _passfile(self) -> Path:
        """Beside the folder, which belongs to the servers' user."""
        return self.folder.with_name(self.folder.name + ".pgpass")

    def address(self) -> str:
        """The connection string of both servers; the password is in a file that it names."""
        passfile = self._passfile
        passfile.touch(0o600)
        passfile.write_text("".join(f"127.0.0.1:{node.port}:*:postgres:{self.password}\n" for node in self.nodes))
        ports = ",".join(str(node.port) for node in self.nodes)
        files = " ".join(f"{word}={path}" for word, path in self._mutual("admin", "sslcert", "sslkey", "sslrootcert").items())
        return f"host=127.0.0.1,127.0.0.1 port={ports} dbname=armonika user=postgres passfile={passfile} target_session_attrs=read-write connect_timeout=2 sslmode=verify-full {files}"

    def _http(self, port: int, path: str) -> dict[str, Any]:
        trusting = ssl.create_default_context(cafile=self._file("ca.pem"))
        trusting.load_cert_chain(self._file("server.pem"))
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=2, context=trusting) as response:
            found: dict[str, Any] = json.loads(response.read())
            return found

    def _until(self, true: Any, seconds: float, otherwise: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if true():
                    return
            except OSError:
                pass
            time.sleep(0.2)
        logs = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-600:]}" for path in sorted(self.folder.glob("*.log")))
        raise DrillError(f"{otherwise} after {seconds:.0f} s\n{logs}")


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    return found
