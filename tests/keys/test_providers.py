"""The three root providers against the real thing: sealed file, SoftHSM2 (PKCS#11), and an OpenBao server from its wheel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armonika.store.private_files import write_private
from armonika.trust.keys import Keyring, RootKeyError
from armonika.trust.keys.keyring import read_file
from armonika.trust.keys.providers import NAMES, RootProvider, choose

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
BAO = Path(sys.executable).parent / "bao"
ALL = pytest.mark.parametrize("name", NAMES)


class Bao:
    """A real OpenBao server: its own storage, unsealed, transit mounted, a token that may do what docs/operate.md grants and no more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.unseal_key = self.root_token = ""
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "bao").mkdir()
        (folder / "bao.hcl").write_text(
            f'storage "raft" {{\n path = "{folder}/bao"\n node_id = "one"\n}}\nlistener "tcp" {{\n address = "127.0.0.1:{self.port}"\n tls_disable = true\n}}\n'
            f'api_addr = "{self.address}"\ncluster_addr = "http://127.0.0.1:{self.port + 1}"\n'
        )

    def call(self, method: str, path: str, body: dict[str, object] | None = None, token: str | None = None) -> dict[str, object]:
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", method=method, data=json.dumps(body).encode() if body is not None else None
        )
        request.add_header("X-Vault-Token", token or self.root_token)
        with urllib.request.urlopen(request, timeout=10) as response:
            raw = response.read()
            return json.loads(raw) if raw else {}

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(BAO), "server", f"-config={self.folder}/bao.hcl"],
            stdout=(self.folder / "bao.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    break
            except OSError:
                assert time.monotonic() < end, (self.folder / "bao.log").read_text()
                time.sleep(0.05)
        if not self.unseal_key:
            answer = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.unseal_key, self.root_token = str(answer["keys_base64"][0]), str(answer["root_token"])  # type: ignore[index]
        self.call("PUT", "sys/unseal", {"key": self.unseal_key})

    def prepare(self) -> str:
        """Mounts transit; returns a token of the documented policy with a life of 30 s."""
        for _ in range(100):
            try:
                self.call("POST", "sys/mounts/transit", {"type": "transit"})
                break
            except urllib.error.HTTPError:
                time.sleep(0.05)
        rules = "\n".join(
            f'path "transit/{path}" {{ capabilities = {json.dumps(held)} }}'
            for path, held in (
                ("keys/armonika-root", ["create", "read", "update"]), ("keys/armonika-root/rotate", ["update"]), ("keys/armonika-root/config", ["update"]),
                ("keys/armonika-root/trim", ["update"]), ("encrypt/armonika-root", ["update"]), ("decrypt/armonika-root", ["update"]),
            )
        )  # fmt: skip
        self.call("PUT", "sys/policies/acl/armonika", {"policy": rules})
        answer = self.call("POST", "auth/token/create", {"policies": ["armonika"], "ttl": "12s", "renewable": True})
        return str(answer["auth"]["client_token"])  # type: ignore[index]

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    made = Bao(tmp_path_factory.mktemp("bao"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], RootProvider]:
    """Configures one provider in the environment, as an operator does, and returns it."""

    def configure(name: str) -> RootProvider:
        monkeypatch.setenv("ARMONIKA_ROOT", name)
        if name == "pkcs11":
            if not SOFTHSM.exists():
                assert os.geteuid() != 0, "softhsm2 is missing: `make test` installs it for root"
                pytest.skip("softhsm2 is not installed (`make test` as root installs it)")
            tokens = tmp_path / "tokens"
            tokens.mkdir(exist_ok=True)
            (tmp_path / "softhsm2.conf").write_text(
                f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
            )
            monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
            if not list(tokens.iterdir()):
                subprocess.run(
                    [
                        "softhsm2-util",
                        "--init-token",
                        "--free",
                        "--label",
                        "armonika",
                        "--pin",
                        "24681012",
                        "--so-pin",
                        "13579111",
                    ],
                    check=True,
                    capture_output=True,
                )
            write_private(tmp_path / "pin", b"24681012\n")
            monkeypatch.setenv("ARMONIKA_PKCS11_MODULE", str(SOFTHSM))
            monkeypatch.setenv("ARMONIKA_PKCS11_TOKEN", "armonika")
            monkeypatch.setenv("ARMONIKA_PKCS11_PIN_FILE", str(tmp_path / "pin"))
        if name == "openbao":
            server: Bao = request.getfixturevalue("bao")
            for path in ("transit/keys/armonika-root/config", "transit/keys/armonika-root"):
                try:
                    server.call(*(("POST", path, {"deletion_allowed": True}) if path.endswith("config") else ("DELETE", path)))  # type: ignore[arg-type]
                except urllib.error.HTTPError:
                    break
            write_private(tmp_path / "token", server.prepare().encode())
            monkeypatch.setenv("ARMONIKA_OPENBAO_ADDRESS", server.address)
            monkeypatch.setenv("ARMONIKA_OPENBAO_TOKEN_FILE", str(tmp_path / "token"))
        return choose(tmp_path / "keys")

    return configure


@ALL
def test_what_a_version_wraps_opens_in_its_place_until_it_is_destroyed(
    use: Callable[[str], RootProvider], name: str, tmp_path: Path
) -> None:
    root = use(name)
    assert not root.exists()
    root.create()
    assert root.exists()
    with pytest.raises(RootKeyError, match="already"):
        root.create()
    first = root.wrap(b"k" * 32, b"place")
    assert root.unwrap(first, b"place") == b"k" * 32
    with pytest.raises(RootKeyError):
        root.unwrap(first, b"elsewhere")
    root.renew()
    second = root.wrap(b"k" * 32, b"place")
    assert choose(tmp_path / "keys").unwrap(first, b"place") == root.unwrap(second, b"place") == b"k" * 32
    root.destroy_older()
    with pytest.raises(RootKeyError):
        root.unwrap(first, b"place")
    assert root.unwrap(second, b"place") == b"k" * 32
    assert root.describe()["version"] == "2"


@ALL
def test_a_keyring_lives_on_each_provider_and_an_old_copy_dies_with_the_old_root(
    use: Callable[[str], RootProvider], name: str, tmp_path: Path
) -> None:
    use(name)
    folder = tmp_path / "keys"
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])
    again = Keyring.open(folder)
    assert again.credentials("api", {"account": "full"}).compartments == ring.credentials("api", {"account": "full"}).compartments
    old = read_file(folder)
    again.renew()
    assert Keyring.open(folder).database_passwords() == ring.database_passwords()
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, choose(folder), old)


def test_the_root_moves_between_providers_and_the_one_before_is_void(
    use: Callable[[str], RootProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    use("file")
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])
    for before, after in (("file", "pkcs11"), ("pkcs11", "openbao"), ("openbao", "file")):
        use(after)
        with pytest.raises(RootKeyError, match=f"armonika keys move-root {after}"):
            Keyring.open(folder)
        old = read_file(folder)
        monkeypatch.setenv("ARMONIKA_ROOT", before)
        if after == "file":
            (folder / "root.key").unlink()
        held = Keyring.open(folder)
        held.renew(choose(folder, after))
        monkeypatch.setenv("ARMONIKA_ROOT", after)
        assert Keyring.open(folder).database_passwords() == ring.database_passwords()
        with pytest.raises(RootKeyError):
            Keyring.open_with(folder, choose(folder, before), old)


@pytest.mark.parametrize("step", ["renew", "save", "destroy_older"])
def test_a_crash_while_the_root_is_renewed_leaves_a_keyring_that_opens(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    if step == "save":
        monkeypatch.setattr(ring, "save", die)
    else:
        monkeypatch.setattr(ring._provider, step, die)
    with pytest.raises(Killed):
        ring.renew()
    monkeypatch.undo()
    again = Keyring.open(folder)
    assert again.database_passwords()
    again.renew()
    assert json.loads((folder / "root.key").read_text()).get("versions") is None, "one version is left"


def test_the_token_s_key_is_not_extractable_and_a_wrong_pin_or_token_says_so(
    use: Callable[[str], RootProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pkcs11

    root = use("pkcs11")
    with pytest.raises(RootKeyError, match="holds no root key"):
        root.wrap(b"k", b"p")
    root.create()
    assert root.describe() == {"provider": "pkcs11", "place": "token armonika", "version": "1", "protection": "not extractable"}
    wrapped = root.wrap(b"k" * 32, b"p")
    for wrong in ("", "1:", "2" + wrapped[1:], wrapped[:2] + "!" + wrapped[2:]):
        with pytest.raises(RootKeyError, match="does not hold the root key"):
            root.unwrap(wrong, b"p")
    with pkcs11.lib(str(SOFTHSM)).get_token(token_label="armonika").open(user_pin="24681012") as session:
        (key,) = session.get_objects({pkcs11.Attribute.LABEL: "armonika-root-1"})
        assert key[pkcs11.Attribute.EXTRACTABLE] is False
        assert key[pkcs11.Attribute.SENSITIVE] is True
        assert key[pkcs11.Attribute.PRIVATE] is True, "nobody sees it without the PIN"
        assert key[pkcs11.Attribute.WRAP] is key[pkcs11.Attribute.UNWRAP] is False, "it takes no other key out of the token"
        assert key[pkcs11.Attribute.ID] == b"\0\0\0\1"
        with pytest.raises(pkcs11.PKCS11Error):
            assert key[pkcs11.Attribute.VALUE]
    write_private(tmp_path / "pin", b"00000000")
    with pytest.raises(RootKeyError, match="PIN"):
        root.wrap(b"k", b"p")
    write_private(tmp_path / "pin", b"24681012")
    monkeypatch.setenv("ARMONIKA_PKCS11_TOKEN", "another")
    with pytest.raises(RootKeyError, match="no token another"):
        choose(tmp_path / "keys").exists()
    monkeypatch.setenv("ARMONIKA_PKCS11_MODULE", str(tmp_path / "nothing.so"))
    with pytest.raises(RootKeyError, match="does not work"):
        choose(tmp_path / "keys").exists()
    monkeypatch.delenv("ARMONIKA_PKCS11_PIN_FILE")
    with pytest.raises(RootKeyError, match="ARMONIKA_PKCS11_PIN_FILE is not set"):
        choose(tmp_path / "keys")


def test_other_keys_of_a_token_are_no_root_and_stay(use: Callable[[str], RootProvider]) -> None:
    import pkcs11

    root = use("pkcs11")
    others = ["armonika-root-", "armonika-root-x", "armonika-rootless9", "7", "another's key 99"]

    def session() -> Any:
        library = pkcs11.lib(str(SOFTHSM))
        library.reinitialize()  # it may still know the folder of an earlier test
        return library.get_token(token_label="armonika").open(user_pin="24681012", rw=True)

    with session() as opened:
        for label in others:
            opened.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True)
    assert not root.exists()
    root.create()
    wrapped = root.wrap(b"k" * 32, b"p")
    root.renew()
    assert root.describe()["version"] == "2"
    assert root.unwrap(wrapped, b"p") == b"k" * 32
    root.destroy_older()
    with session() as opened:
        labels = [key.label for key in opened.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})]
    assert sorted(labels) == sorted([*others, "armonika-root-2"])


def test_a_pin_that_is_locked_is_said(use: Callable[[str], RootProvider], monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM locks none: the library's answer is put in its place."""
    import pkcs11

    class Locked:
        def reinitialize(self) -> None:
            pass

        def get_token(self, **_: object) -> Any:
            raise pkcs11.PinLocked

    root = use("pkcs11")
    monkeypatch.setattr(pkcs11, "lib", lambda _: Locked())
    with pytest.raises(RootKeyError, match="PIN of the token armonika is locked"):
        root.exists()


def test_openbao_goes_and_comes_back_its_token_is_renewed_and_a_sealed_server_says_so(
    use: Callable[[str], RootProvider], bao: Bao, tmp_path: Path
) -> None:
    use("openbao")
    folder = tmp_path / "keys"
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])
    before = (folder / "keyring.json").read_bytes()
    bao.stop()
    with pytest.raises(RootKeyError, match="does not answer"):
        Keyring.open(folder)
    with pytest.raises(RootKeyError, match="does not answer"):
        ring.renew()
    assert (folder / "keyring.json").read_bytes() == before
    key, bao.unseal_key = bao.unseal_key, bao.unseal_key
    bao.process = subprocess.Popen(
        [str(BAO), "server", f"-config={bao.folder}/bao.hcl"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 20
    while True:
        with pytest.raises(RootKeyError) as caught:
            Keyring.open(folder)
        if "sealed" in str(caught.value):
            break
        assert time.monotonic() < end, caught.value
        time.sleep(0.1)
    bao.call("PUT", "sys/unseal", {"key": key})
    while True:
        try:
            assert Keyring.open(folder).database_passwords() == ring.database_passwords()
            break
        except RootKeyError:
            assert time.monotonic() < end
            time.sleep(0.1)
    token = (tmp_path / "token").read_text().strip()
    lives = []
    for _ in range(20):
        Keyring.open(folder)
        lives.append(int(bao.call("GET", "auth/token/lookup-self", token=token)["data"]["ttl"]))  # type: ignore[index]
        if len(lives) > 1 and lives[-1] > lives[-2] + 3:
            break
        time.sleep(1)
    assert lives[-1] > lives[-2] + 3, f"the token was renewed before its end: {lives}"
    bao.call("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(RootKeyError, match="refuses the token"):
        Keyring.open(folder)


def test_a_keyring_of_the_first_format_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the release before wrote: entries wrapped with the root key itself, no states."""
    import base64

    from armonika.trust import crypto

    folder = tmp_path / "keys"
    root = crypto.random_bytes(32)
    write_private(
        folder / "root.key",
        json.dumps(
            {
                "format": "armonika-root-key/1",
                "key": base64.b64encode(root).decode(),
                "check": crypto.sha256(b"armonika-root-key/1" + root).hex()[:16],
            }
        ).encode(),
    )
    identity = "ab" * 16

    def wrap(place: str, key: bytes) -> str:
        return base64.b64encode(crypto.seal(root, key, f"armonika-keyring/1/{identity}/{place}".encode())).decode()

    private, public = crypto.hpke_generate()
    kek = crypto.random_bytes(32)
    epoch = {"created": "2026-09-01T00:00:00+00:00", "kek": wrap("compartment/account/1/kek", kek), "index": wrap("compartment/account/1/index", b"i" * 32),
             "private": wrap("compartment/account/1/private", private), "public": base64.b64encode(public).decode()}  # fmt: skip
    write_private(folder / "keyring.json", json.dumps({"format": "armonika-keyring/1", "id": identity, "check": wrap("check", b"armonika"), "doors": {}, "secrets": {},
                                                       "compartments": {"account": {"current": 1, "epochs": {"1": epoch}}}}).encode())  # fmt: skip
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])
    again = Keyring.open(folder)
    assert again.keyring_id == identity
    assert again.credentials("api", {"account": "full"}).compartments["account"].epochs[1].kek == kek
    assert again.epochs.active("account") == 1


def test_no_secret_is_in_an_environment_a_command_line_or_a_repr(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "keys")
    ring.ensure(["account"])
    held = ring.credentials("api", {"account": "full"})
    shown = repr(held) + repr(ring) + repr(held.compartments) + json.dumps(dict(os.environ))
    for secret in (
        held.database_password,
        held.service_secret.hex(),
        str(held.service_secret),
        str(held.compartments["account"].epochs[1].kek),
    ):
        assert secret not in shown


def test_tools_of_this_file_are_there() -> None:
    assert shutil.which("softhsm2-util") or os.geteuid() != 0
    assert BAO.exists()
