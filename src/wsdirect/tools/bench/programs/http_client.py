"""http.client; with the word `new` a connection for each request, else one for all."""

from __future__ import annotations

import http.client

from wsdirect.tools.bench.programs.pacing import measure, port, words

if __name__ == "__main__":
    number = port()
    kept = http.client.HTTPConnection("127.0.0.1", number)

    def on_one() -> None:
        """A request on the connection that is kept."""
        kept.request("GET", "/")
        kept.getresponse().read()

    def on_new() -> None:
        """A request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", number)
        connection.request("GET", "/", headers={"Connection": "close"})
        connection.getresponse().read()
        connection.close()

    measure(on_new if "new" in words() else on_one)
