"""The same service with CherryPy."""

import sys

import cherrypy
from parts import blob


class Root:
    @cherrypy.expose
    def blob(self, size):
        return blob(int(size))

    @cherrypy.expose
    @cherrypy.config(**{"request.process_request_body": False})
    def echo(self):
        return cherrypy.request.rfile.read(int(cherrypy.request.headers["Content-Length"]))


cherrypy.config.update(
    {
        "environment": "production",
        "server.socket_host": "127.0.0.1",
        "server.socket_port": int(sys.argv[1]),
    }
)
cherrypy.quickstart(Root())
