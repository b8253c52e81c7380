"""The same service as a WSGI application, and the servers that run such as a library."""

import sys

from parts import blob


def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    else:
        body = blob(int(environ["PATH_INFO"].rpartition("/")[2]))
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body[at : at + 65536] for at in range(0, len(body), 65536)]


def with_wsgiref(port):
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    make_server("127.0.0.1", port, app, handler_class=Quiet).serve_forever()


def with_waitress(port):
    import waitress

    waitress.serve(app, host="127.0.0.1", port=port, _quiet=True)


def with_twisted(port):
    from twisted.internet import reactor
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    root = WSGIResource(reactor, reactor.getThreadPool(), app)
    reactor.listenTCP(port, Site(root), interface="127.0.0.1")
    reactor.run()


def with_gevent(port):
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), app, log=None).serve_forever()


if __name__ == "__main__":
    globals()[f"with_{sys.argv[1]}"](int(sys.argv[2]))
