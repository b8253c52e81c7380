"""The same service with bottle, on its default server (wsgiref)."""

import sys

from bottle import Bottle, request
from parts import blob

app = Bottle()


@app.get("/blob/<size:int>")
def give(size):
    return blob(size)


@app.post("/echo")
def echo():
    return request.body.read()


app.run(host="127.0.0.1", port=int(sys.argv[1]), quiet=True)
