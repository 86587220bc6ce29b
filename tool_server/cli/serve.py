"""`bursar serve`: agents, console and webhooks on separate listeners of one process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from policy.errors import ConfigurationError, PolicyError
from tool_server.cli.asking import read_settings
from tool_server.cli.command import EXIT_DONE, CommandError, print_json
from tool_server.hosts import Bind, may_listen, names, read_bind
from tool_server.settings import Settings

if TYPE_CHECKING:
    from tool_server.bootstrap import House
    from tool_server.serve import Listener
    from webhooks.stripe_side import StripeSide

ONLY: Final = ("agents", "web", "worker")
DEFAULTS: Final = {"agents": "127.0.0.1:8400", "web": "127.0.0.1:8401"}
_FORCED: Final = 130  # What shells report for a program that a person interrupted.


class Choice(Struct, frozen=True, kw_only=True):
    """What this process serves; a listener that is None is left out."""

    agents: Bind | None = None
    web: Bind | None = None
    work: bool = True  # Whether calls that may run are run here, and events worked.
    simulated: tuple[str, ...] = ()  # Secrets a simulator made for itself: they come from no environment.
    simulated_issuing: tuple[str, ...] = ()
    taken: str = ""  # What to do about an address that is taken, where not `--agents` and the like.

    def binds(self) -> dict[str, Bind]:
        """Return the listeners that are wanted, by name."""
        wanted = {"agents": self.agents, "web": self.web}
        return {name: bind for name, bind in wanted.items() if bind is not None}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the addresses and `--only`."""
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", default=default, metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument(
        "--only", choices=ONLY, help="serve one part; needs PostgreSQL where others serve the rest"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then answer what is open."""
    from tool_server import tracing

    settings = read_settings()
    _log(colours=sys.stderr.isatty())
    last_spans = tracing.start(os.environ)
    try:
        choice = choose(args)
        asyncio.run(serve_house(settings, choice, json=args.json))
    except (ConfigurationError, PolicyError) as error:
        raise CommandError(str(error)) from None
    finally:
        last_spans()
    return EXIT_DONE


def choose(args: argparse.Namespace) -> Choice:
    """Return what to serve. Raises ConfigurationError for an address that is none."""
    wanted = {
        name: read_bind(getattr(args, name)) if args.only in {None, name} else None for name in DEFAULTS
    }
    return Choice(
        agents=wanted["agents"],
        web=wanted["web"],
        work=args.only in {None, "worker"},
    )


async def serve_beside(settings: Settings, choice: Choice, beside: Callable[[], Awaitable[None]]) -> None:
    """Serve for as long as something beside it runs; for `stdio` where no server was running."""
    stop = asyncio.Event()
    _log(colours=False)

    async def run_beside() -> None:
        try:
            await beside()
        finally:
            stop.set()

    tasks: list[asyncio.Task[None]] = []
    try:
        await serve_house(
            settings,
            choice,
            stop=stop,
            quiet=True,
            on_served=lambda: tasks.append(asyncio.create_task(run_beside())),
        )
        await asyncio.gather(*tasks)
    except (ConfigurationError, PolicyError) as error:
        raise CommandError(str(error)) from None


async def serve_house(
    settings: Settings,
    choice: Choice,
    *,
    stop: asyncio.Event | None = None,
    json: bool = False,
    quiet: bool = False,
    on_served: Callable[[], None] = lambda: None,
) -> None:
    """Build the house, serve it, and take it down in order. Raises ConfigurationError, PolicyError."""
    from tool_server.bootstrap import bootstrap
    from tool_server.serve import open_socket, serve, signals
    from tool_server.signing import signed_log

    stop = stop or asyncio.Event()
    for name, bind in choice.binds().items():
        may_listen(bind, settings.public_url, name)
    # Before the house is built: an address that is taken should not cost a start.
    sockets = {name: open_socket(bind, name, advice=choice.taken) for name, bind in choice.binds().items()}
    house = await bootstrap(_addressed(settings, sockets))
    try:
        async with contextlib.AsyncExitStack() as stack:
            # First in, last out: what the last answers wrote is signed too.
            await stack.enter_async_context(
                signed_log(house.ledger, house.settings.keys, stop.set, sign=choice.work)
            )
            stack.enter_context(signals(stop, lambda: os._exit(_FORCED)))
            await stack.enter_async_context(house.running(work=choice.work))
            stripe = await _stripe(stack, house, choice)
            listeners, drain = await _listeners(stack, house, choice, sockets, stripe)

            def served() -> None:
                if not quiet:
                    _say(listeners, json=json)
                on_served()

            if listeners:
                await serve(listeners, stop, on_served=served, on_stop=drain)
            else:
                served()
                await stop.wait()
    finally:
        await house.close()


async def _stripe(stack: contextlib.AsyncExitStack, house: House, choice: Choice) -> StripeSide | None:
    """Build Stripe's side where this process has a part in it, and let its worker run where it works."""
    if choice.web is None and not choice.work:
        return None
    from webhooks.stripe_side import Simulated, stripe_side

    side = stripe_side(house, Simulated(choice.simulated, choice.simulated_issuing))
    if choice.work:
        await stack.enter_async_context(side.working())
    return side


def _addressed(settings: Settings, sockets: dict[str, Any]) -> Settings:
    """Return settings that know where people come in, so that agents can say where an answer is given."""
    if settings.public_url or "web" not in sockets:
        return settings
    return structs.replace(settings, public_url=f"http://{_bound(sockets['web'])}")


async def _listeners(
    stack: contextlib.AsyncExitStack,
    house: House,
    choice: Choice,
    sockets: dict[str, Any],
    stripe: StripeSide | None,
) -> tuple[list[Listener], Callable[[], None]]:
    """Return the wanted listeners, and what to do when the first of them is told to close."""
    from tool_server.agents import AgentsListener
    from tool_server.serve import Listener

    listeners: list[Listener] = []
    drains: list[Callable[[], None]] = [house.gate.drain]
    if choice.agents is not None:
        agents = AgentsListener(house, names(_bound(sockets["agents"]), house.settings.public_url))
        await stack.enter_async_context(agents.app.running())
        listeners.append(Listener("agents", agents.app, sockets["agents"]))
        drains.insert(0, agents.drain)
    if choice.web is not None:
        from webhooks.web import web_app

        app = web_app(house, _bound(sockets["web"]), stripe)
        listeners.append(Listener("web", app, sockets["web"], lifespan=True))
    await stack.enter_async_context(_office(house, listeners))

    def drain() -> None:
        for each in drains:
            each()

    return listeners, drain


@contextlib.asynccontextmanager
async def _office(house: House, listeners: list[Listener]) -> AsyncIterator[None]:
    """Answer the command line while this process holds the database's lock; PostgreSQL has none to hold."""
    file = house.settings.sqlite_file
    if file is None:
        yield
        return
    import secrets

    from tool_server.office import Means, Office
    from tool_server.office_local import VERBS
    from tool_server.office_socket import listening

    urls = {each.name: f"http://{each.address}" for each in listeners}
    public = house.settings.public_url
    means = Means(
        ledger=house.ledger,
        now=house.now,
        random_bytes=secrets.token_bytes,
        keys=house.settings.keys,
        catalogue=house.catalogue,
        policies=house.settings.policies,
        providers=house.providers,
        console_url=public or urls.get("web", "http://127.0.0.1:8401"),
        agents_url=f"{public if public.startswith('https://') else urls.get('agents', 'http://127.0.0.1:8400')}/mcp",
    )
    async with listening(file, Office(means, VERBS).handle):
        yield


def _log(*, colours: bool) -> None:
    """Let this process write its log, for a person where one is looking."""
    from tool_server.logs import configure_logging

    configure_logging(colours=colours)


def _bound(opened: Any) -> Bind:  # noqa: ANN401 - a socket; its module is not imported for a type
    host, port = opened.getsockname()[:2]
    return Bind(host, port)


def _say(listeners: list[Listener], *, json: bool) -> None:
    """Print where what is served, once everything answers."""
    addresses = {
        each.name: f"http://{each.address}{'/mcp' if each.name == 'agents' else ''}" for each in listeners
    }
    if json:
        print_json({"serving": addresses})
    else:
        for name, address in addresses.items():
            print(f"{name:<8} {address}")
        print("Ctrl-C stops; open calls are answered first.")
    sys.stdout.flush()
