"""The same service with tornado."""

import asyncio
import sys

from parts import blob
from tornado.web import Application, RequestHandler


class Blob(RequestHandler):
    def get(self, size):
        self.write(blob(int(size)))


class Echo(RequestHandler):
    def post(self):
        self.write(self.request.body)


async def serve(port):
    Application([(r"/blob/(\d+)", Blob), ("/echo", Echo)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1])))
