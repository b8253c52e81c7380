"""A mail server with aiosmtpd; it answers with the digest of the mail."""

import asyncio
import sys

from aiosmtpd.smtp import SMTP
from parts import digest


class Handler:
    async def handle_DATA(self, server, session, envelope):
        return f"250 {digest(envelope.content)}"


async def serve(port):
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(Handler(), hostname="here"), "127.0.0.1", port)
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1])))
