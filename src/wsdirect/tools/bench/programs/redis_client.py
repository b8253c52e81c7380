"""redis-py: SET and GET by turns, 100 bytes."""

from __future__ import annotations

import redis

from wsdirect.tools.bench.programs.pacing import measure, port

if __name__ == "__main__":
    client = redis.Redis(port=port(), protocol=2)
    value = b"v" * 100

    def set_and_get() -> None:
        """One of each."""
        client.set("key", value)
        if client.get("key") != value:
            raise SystemExit("the server lost a value")

    measure(set_and_get, each=2)
