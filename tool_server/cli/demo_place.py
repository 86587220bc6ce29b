"""Where the demo lives: its folder, its ports, its policy, and what it keeps from one start to the next.

Nothing of the environment reaches it: provider variables are ignored, and live ones refused by name (M32).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy.errors import ConfigurationError
from policy.language import Mode
from tool_server.hosts import Bind

FOLDER: Final = Path(".demo")
PROJECT: Final = "demo"
OWNER: Final = "demo-operator"
_PREFERRED: Final = {"agents": 8400, "web": 8401}  # As `bursar serve` has them, where they are free.
_SHIPPED: Final = Path(__file__).parents[2] / "policies.yaml"
_SCHEMA: Final = "policy.schema.json"  # Editors complete the policy with it.
_STRIPE_KEY: Final = re.compile(r"(?:sk|rk)_test_[A-Za-z0-9_]+")
_KEYS: Final = ("STRIPE_EARN_KEY", "STRIPE_SPEND_KEY")
_SECRETS: Final = ("STRIPE_WEBHOOK_SECRETS", "STRIPE_ISSUING_WEBHOOK_SECRETS")
_ALWAYS_LIVE: Final = ("PORKBUN_API_KEY", "PORKBUN_SECRET_KEY")  # Porkbun has no test mode.


class Kept(Struct, kw_only=True):
    """What later starts need: the ports, and the tokens that visitors have pasted somewhere."""

    agents_port: int
    web_port: int
    tokens: dict[str, str] = {}
    password: str = ""  # The demo operator's, who exists only here.


class Place(Struct, frozen=True, kw_only=True):
    """One demo's folder and what is in it."""

    folder: Path
    kept: Kept
    fresh: bool  # Whether nothing was here before.
    database: str = ""  # Another ledger than the file in the folder: journeys play on PostgreSQL too.

    @property
    def db(self) -> str:
        """Return the ledger."""
        return self.database or str(self.folder / "bursar.db")

    @property
    def policies(self) -> Path:
        """Return the policy file, which visitors may change while the demo runs."""
        return self.folder / "policies.yaml"

    @property
    def keys(self) -> Path:
        """Return the folder of the signing key."""
        return self.folder / "keys"

    @property
    def agents(self) -> Bind:
        """Return where agents connect."""
        return Bind("127.0.0.1", self.kept.agents_port)

    @property
    def web(self) -> Bind:
        """Return where the console is."""
        return Bind("127.0.0.1", self.kept.web_port)

    @property
    def console_url(self) -> str:
        """Return the console's address."""
        return f"http://{self.web}"

    @property
    def mcp_url(self) -> str:
        """Return the agents' address."""
        return f"http://{self.agents}/mcp"

    def keep(self) -> None:
        """Write down what later starts need, for this user alone."""
        path = self.folder / "demo.json"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self.kept))


def refuse_live(environ: Mapping[str, str]) -> None:
    """Refuse an environment that holds anything live, by its name (M32). Raises ConfigurationError."""
    found = [name for name in _KEYS if environ.get(name) and not _STRIPE_KEY.fullmatch(environ[name])]
    found += [name for name in _SECRETS if "live:" in environ.get(name, "")]
    found += [name for name in _ALWAYS_LIVE if environ.get(name)]
    found += ["LIVE_SPEND"] if environ.get("LIVE_SPEND", "0") != "0" else []
    if found:
        raise ConfigurationError(
            f"{found[0]} is set for live money, and the demo touches none; unset it and start again"
        )


def open_place(folder: Path, *, again: bool, database: str = "") -> Place:
    """Return the demo's folder, new and empty where `again` says so. Raises ConfigurationError."""
    _need_idle(folder)
    if again and folder.exists():
        shutil.rmtree(folder)
    known = folder / "demo.json"
    kept = _read(known) if known.exists() and (folder / "bursar.db").exists() else None
    if kept is None and folder.exists():
        shutil.rmtree(folder)  # A first start that was cut short.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = {name: _port(name, kept) for name in _PREFERRED}
    if ports["agents"] == ports["web"]:
        ports["web"] = _free_port()
    tokens = {} if kept is None else kept.tokens
    password = secrets.token_urlsafe(12) if kept is None else kept.password
    found = Kept(agents_port=ports["agents"], web_port=ports["web"], tokens=tokens, password=password)
    return Place(folder=folder, kept=found, fresh=kept is None, database=database)


def write_policy(place: Place, simulator: Mapping[str, Any]) -> None:
    """Put the shipped policy into the folder, with what the payments plugin needs of the simulator."""
    settings = {
        "account": simulator["account"],
        "cardholder": simulator["cardholder"],
        "financial_account": simulator["financial_account"],
        "recipients": [f"hosting = {simulator['recipient']} = Hosting Ltd"],
    }
    entry = f"{{name: payments, settings: {msgspec.json.encode(settings).decode()}}}"
    text, times = re.subn(r"(?m)^(plugins:.*)\{name: payments\}", rf"\g<1>{entry}", _SHIPPED.read_text())
    if times != 1:
        raise ConfigurationError("the shipped policies.yaml lists no payments plugin; restore it")
    place.policies.write_text(text)
    shutil.copyfile(_SHIPPED.with_name(_SCHEMA), place.folder / _SCHEMA)


def modes() -> tuple[Mode, ...]:
    """Return the only mode a demo takes."""
    return (Mode.SIMULATED,)


def _read(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None  # A start that was cut short; the folder is made anew.


def _need_idle(folder: Path) -> None:
    """Refuse a folder that another demo runs on. Raises ConfigurationError."""
    from ledger.engines.sqlite import FileLock, LockHeld

    database = folder / "bursar.db"
    if not database.exists():
        return
    lock = FileLock(database)
    try:
        lock.take()
    except LockHeld:
        raise ConfigurationError(f"a demo runs on {folder} already; stop it with Ctrl-C first") from None
    lock.release()


def _port(name: str, kept: Kept | None) -> int:
    """Return the port of last time, else the usual one, else a free one."""
    before = None if kept is None else {"agents": kept.agents_port, "web": kept.web_port}[name]
    for port in (before, _PREFERRED[name]):
        if port is not None and _is_free(port):
            return port
    return _free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
