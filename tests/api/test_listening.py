"""How the server listens."""

import asyncio
import socket

from api.cli.serve import _listen


def test_small_answers_are_not_held_back():
    """Connections send at once (TCP_NODELAY): else a body written after its head waits for the client's late ACK."""
    assert asyncio.run(sends_at_once())


async def sends_at_once() -> bool:
    found = asyncio.get_running_loop().create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = _listen("127.0.0.1", 0)
    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.close()
        return bool(await asyncio.wait_for(found, 5))
