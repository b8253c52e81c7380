"""httpx's blocking client: requests one after another, the connection is kept."""

from __future__ import annotations

import httpx

from wsdirect.tools.bench.programs.pacing import measure, port

if __name__ == "__main__":
    with httpx.Client(base_url=f"http://127.0.0.1:{port()}") as client:
        measure(lambda: client.get("/"))
