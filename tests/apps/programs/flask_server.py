"""The same service with Flask, on werkzeug's server."""

import sys

from flask import Flask, Response, request
from parts import blob

app = Flask(__name__)


@app.get("/blob/<int:size>")
def give(size):
    return Response(blob(size), mimetype="application/octet-stream")


@app.post("/echo")
def echo():
    return Response(request.get_data(), mimetype="application/octet-stream")


app.run("127.0.0.1", int(sys.argv[1]))
