"""`bursar stdio` where no server runs: the whole house behind one agent's standard streams."""

import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from ledger.audit import keys
from tests.provider.house import Place, Shop, a_place, opened
from tests.tool_server.doors import token_of
from tests.tool_server.wires import enlist, near


def bursar(place: Place, agents: int, web: int) -> StdioServerParameters:
    """Return the command as it stands in a client's settings."""
    environment = {
        "BURSAR_DB": str(place.folder / "bursar.db"),
        "BURSAR_POLICIES": str(place.settings.policies),
        "BURSAR_KEYS": str(place.folder / "keys"),
        "BURSAR_AGENT_TOKEN": token_of("wanda"),
        "PYTHONPATH": str(Path.cwd()),
    }
    addresses = ["--agents", f"127.0.0.1:{agents}", "--web", f"127.0.0.1:{web}"]
    command = ["-m", "tool_server.cli", "stdio", *addresses]
    return StdioServerParameters(command=sys.executable, args=command, env=environment)


async def test_without_a_server_it_is_the_whole_and_a_second_one_finds_it(copied: Path, shop: Shop) -> None:
    """An agent that starts its tool server by itself gets all of it: policy, ledger, execution, console.

    A second agent's `stdio` then is a bridge to the first: one ledger has one writer.
    """
    place = await a_place(copied, shop, prepared=True)
    async with opened(place, work=False) as desk:
        await enlist(desk, "wanda")
        for name in desk.house.registry.tools:
            info = desk.house.registry.tools[name].info
            await desk.house.ledger.accept_tool(
                name, info.definition_hash, kind=info.kind.value, by="olga", at=desk.house.now()
            )
    keys.generate(place.folder / "keys")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        agents, web = one.getsockname()[1], two.getsockname()[1]
    server = bursar(place, agents, web)
    async with AsyncExitStack() as stack:
        # The older era has no limit of its own on the first answer, and this one starts a house.
        alone = near(await stack.enter_async_context(Client(stdio_client(server), mode="legacy")))
        tools = await alone.tools()
        bridged = near(await stack.enter_async_context(Client(stdio_client(server), mode="legacy")))
        assert await bridged.tools() == tools
        wanted: dict[str, Any] = {
            "item": "a",
            "vendor": "a.example",
            "amount": "2.00 USD",
            "idempotency_key": "alone-1",
        }
        bought = await alone.call("shop_buy", **wanted)
        assert bought.status == "succeeded", bought.text
        again = await bridged.call("shop_buy", **wanted)
        assert (again.data["call_id"], again.data["replayed"]) == (bought.data["call_id"], True)
        pending = await bridged.call(
            "shop_buy", **wanted | {"amount": "30.00 USD", "idempotency_key": "alone-2"}
        )
        assert pending.data["approval"]["url"].startswith(f"http://127.0.0.1:{web}/approvals/")
    assert len(shop.orders()) == 1
