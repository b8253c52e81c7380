"""Many connections at once from one process to another; prints what they cost and what is left.

The client's arguments: how many.  The server's: how many, and "server".
"""

import os
import resource
import socket
import subprocess
import sys

COUNT = int(sys.argv[1])


def raise_limit() -> bool:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard > COUNT + 500


def descriptors() -> int:
    return sum(
        not link.startswith("/memfd:wsdirect-segment")
        for link in map(read_link, os.listdir("/proc/self/fd"))
    )


def read_link(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # that of the listing itself
        return "gone"


def segments() -> int:
    with open("/proc/self/maps") as maps:
        return sum("wsdirect-segment" in line for line in maps)


def memory(pid: int) -> int:
    """KiB, what is shared counted once."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def serve() -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(server.getsockname()[1], flush=True)
    held = []

    def take(count: int) -> None:
        for _ in range(count):
            accepted, _ = server.accept()
            accepted.sendall(accepted.recv(1))
            held.append(accepted)

    take(1)
    before = descriptors()
    take(COUNT - 1)
    sys.stdin.readline()
    for accepted in held[1:]:
        accepted.close()
    del held[1:], accepted
    print(descriptors() - before, segments(), flush=True)
    sys.stdin.readline()


def connect(address: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(address)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return client


def main() -> None:
    import wsdirect
    from wsdirect import status
    from wsdirect.switch.ports import POOLED, pool

    # what the client keeps for good, and what any test would find missing otherwise
    for lease in [pool.lease("127.0.0.1", ("127.0.0.1", 1)) for _ in range(POOLED)]:
        pool.release(lease)
    server = subprocess.Popen(
        [sys.executable, "-m", "wsdirect", "run", __file__, str(COUNT), "server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    address = ("127.0.0.1", int(server.stdout.readline()))
    held = [connect(address)]
    descriptors_before = descriptors()
    before = memory(os.getpid()) + memory(server.pid)
    held += [connect(address) for _ in range(COUNT - 1)]
    each = (memory(os.getpid()) + memory(server.pid) - before) / COUNT
    print(f"open={len(held)}", f"kib={each:.1f}")
    print("switched=", sum(wsdirect.info(client)["path"] == "shm" for client in held), sep="")
    pages = [status.read_process(pid) for pid in (os.getpid(), server.pid)]
    print("listed=", sum(len(page.rows) for page in pages if page is not None), sep="")
    for client in held[1:]:
        client.close()
    del held[1:], client
    server.stdin.write("\n")
    server.stdin.flush()
    left, mapped = server.stdout.readline().split()
    print(f"client_left={descriptors() - descriptors_before}", f"client_segments={segments()}")
    print(f"server_left={left}", f"server_segments={mapped}")
    server.stdin.close()
    server.wait()


if not raise_limit():
    print("open=too-few-descriptors")
elif len(sys.argv) > 2:
    serve()
else:
    main()
