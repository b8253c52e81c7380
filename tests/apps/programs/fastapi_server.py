"""The same service with FastAPI, for uvicorn and other ASGI servers to run."""

from fastapi import FastAPI, Request, Response
from parts import blob

app = FastAPI()


@app.get("/blob/{size}")
def give(size: int):
    return Response(blob(size), media_type="application/octet-stream")


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type="application/octet-stream")
