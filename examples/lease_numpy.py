"""Arrays that are received without being copied: NumPy looks at them in the connection's ring.

    wsdirect run examples/lease_numpy.py

It works without wsdirect, too, by copying.
"""

from __future__ import annotations

import socket
import threading

import numpy as np

import wsdirect

ROWS, COLUMNS = 500, 64
FRAME = COLUMNS * 8


def send(address: tuple[str, int]) -> None:
    """Makes each row where the other side will read it."""
    with socket.create_connection(address) as sock:
        for row in range(ROWS):
            with wsdirect.send_region(sock, FRAME) as region:
                np.multiply(np.arange(COLUMNS), row, out=np.frombuffer(region.data))


def sum_of(
    numbers: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The sum of all rows."""
    return numbers.reshape(-1, COLUMNS).sum(axis=0)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=send, args=(server.getsockname(),))
        sender.start()
        sock, _ = server.accept()
    total, rows, copied = np.zeros(COLUMNS), 0, 0
    with sock:
        while True:
            with wsdirect.recv_lease(sock, 1 << 18) as lease:
                whole = len(lease) // FRAME
                if len(lease) == 0:
                    break
                lease.consume(whole * FRAME)  # what has come of the next row comes again
                # no name for the array: it must be gone before the lease ends
                total += sum_of(np.frombuffer(lease.data, count=whole * COLUMNS))
                rows += whole
                copied += not lease.in_place
    sender.join()
    assert rows == ROWS
    assert (total == np.arange(COLUMNS) * sum(range(ROWS))).all()
    print(f"{rows} rows, {'some by copying' if copied else 'all read in place'}")


if __name__ == "__main__":
    main()
