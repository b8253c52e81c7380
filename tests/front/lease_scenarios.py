"""What programs do with leases; run with a scenario's name, prints what happened as JSON.

The same is expected on TCP and switched, so nothing here asks which it is, but for `in_place`.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import wsdirect

scenarios: dict[str, Callable[[], Any]] = {}
sockets: list[socket.socket] = []


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    scenarios[function.__name__] = function
    return function


def pair(by: socket.socket | None = None) -> tuple[socket.socket, socket.socket]:
    listener = by or socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    if by is None:
        listener.close()
    sockets.extend((client, server))
    return client, server


def outcome(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    try:
        return call(*args, **named)
    except OSError as error:
        return type(error).__name__
    except (ValueError, TypeError, BufferError) as error:
        return f"{type(error).__name__}: {error}"


def take(sock: socket.socket, size: int = 1000, **named: Any) -> bytes:
    with wsdirect.recv_lease(sock, size, **named) as lease:
        return bytes(lease)


def take_all(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += take(sock, size - len(data))
    return data


@scenario
def reading() -> Any:
    a, b = pair()
    a.sendall(b"0123456789" * 3)
    time.sleep(0.05)
    seen: list[Any] = []
    with wsdirect.recv_lease(b, 4) as lease:
        seen += [bytes(lease), len(lease), lease.data.readonly, bytes(lease.data[1:3])]
        seen.append(b.recv(6, socket.MSG_PEEK))
    with wsdirect.recv_lease(b, 10) as lease:
        lease.consume(3)
        seen.append(bytes(lease))
        seen.append(outcome(lease.consume, 11))
        seen.append(outcome(lease.consume, -1))
    with contextlib.suppress(KeyError), wsdirect.recv_lease(b, 2) as lease:
        raise KeyError
    lease = wsdirect.recv_lease(b, 5)
    view = lease.data
    lease.release()
    lease.release()
    seen += [outcome(lambda: lease.data), outcome(lambda: view[0]), outcome(lease.consume, 0)]
    seen.append(outcome(lease.__enter__))
    kept = wsdirect.recv_lease(b, 5)
    del kept  # not ended: it is read once more
    gc.collect()
    with wsdirect.recv_lease(b) as lease:
        lease.consume(0)
    seen.append(b.recv(100))
    a.close()
    seen += [take(b), take(b), repr(lease)]
    return [one.decode() if isinstance(one, bytes) else one for one in seen]


@scenario
def waiting() -> Any:
    a, b = pair()
    seen = [outcome(take, b, timeout=0), outcome(take, b, timeout=0.02)]
    b.settimeout(0.02)
    seen += [outcome(take, b), outcome(take, b, timeout=0)]
    b.setblocking(False)
    seen += [outcome(take, b), outcome(take, b, timeout=0.02)]
    thread = threading.Timer(0.05, a.sendall, [b"x"])
    thread.start()
    seen.append(take(b, timeout=None).decode())
    thread.join()
    b.setblocking(True)
    thread = threading.Timer(0.05, a.sendall, [b"y"])
    thread.start()
    seen.append(take(b).decode())
    thread.join()
    return seen


@scenario
def writing() -> Any:
    a, b = pair()
    seen: list[Any] = []
    with wsdirect.send_region(a, 6) as region:
        region.data[:] = b"abcdef"
        seen += [len(region), region.data.readonly]
    with wsdirect.send_region(a, 100) as region:
        region.data[:3] = b"ghi"
        region.commit(3)
        seen.append(outcome(lambda: region.data))
    with contextlib.suppress(KeyError), wsdirect.send_region(a, 100) as region:
        raise KeyError
    region = wsdirect.send_region(a, 5)
    region.cancel()
    region.cancel()
    seen.append(outcome(region.commit))
    del region
    region = wsdirect.send_region(a, 5)
    del region  # given up
    region = wsdirect.send_region(a, 3)
    seen += [outcome(region.commit, 4), outcome(region.commit, -1)]
    region.data[:] = b"jkl"
    region.commit()
    big = random.Random(1).randbytes(900_000)
    thread = threading.Thread(target=lambda: seen.append(hash_of(take_all(b, 12 + len(big)))))
    thread.start()
    with wsdirect.send_region(a, len(big)) as region:
        region.data[:] = big
    thread.join()
    seen[-1] = seen[-1] == hash_of(b"abcdefghijkl" + big)
    b.close()
    failed = []
    for _ in range(3):
        with contextlib.suppress(ConnectionError), wsdirect.send_region(a, 10):
            time.sleep(0.02)
            continue
        failed.append(True)
    return seen, bool(failed)


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@scenario
def views_that_stay() -> Any:
    a, b = pair()
    a.sendall(b"0123456789")
    time.sleep(0.05)
    lease = wsdirect.recv_lease(b, 5)
    part = lease.data[1:4]
    seen = [outcome(lease.release).split(":")[0], bytes(part).decode()]
    seen.append(outcome(lambda: lease.data))
    del part
    seen.append(b.recv(5).decode())
    a.sendall(b"abcde")
    with contextlib.suppress(KeyError), wsdirect.recv_lease(b, 5) as lease:
        other = lease.data[:2]
        raise KeyError  # which is not hidden by the other one
    seen.append(bytes(other).decode())
    other.release()
    region = wsdirect.send_region(a, 4)
    cut = region.data[:2]
    seen.append(outcome(region.commit).split(":")[0])
    region.data[:] = b"wxyz"
    cut.release()
    region.commit()
    region = wsdirect.send_region(a, 4)
    cut = region.data[:2]
    region.cancel()
    cut[:] = b"??"
    cut.release()
    seen.append(take_all(b, 4).decode())
    return seen


@scenario
def after_close() -> Any:
    a, b = pair()
    data = random.Random(2).randbytes(50_000)
    a.sendall(data)
    time.sleep(0.05)
    lease = wsdirect.recv_lease(b, len(data))
    a.close()
    b.close()
    seen = [bytes(lease) == data]
    lease.release()
    a, b = pair()
    region = wsdirect.send_region(a, 10)
    a.close()
    region.data[:] = b"0123456789"
    seen.append(outcome(region.commit))
    return [*seen, outcome(wsdirect.recv_lease, a), outcome(wsdirect.send_region, b, 0)]


@scenario
def peer_death() -> Any:
    listener = socket.create_server(("127.0.0.1", 0))
    data = random.Random(3).randbytes(60_000)
    child = os.fork()
    if child == 0:
        sock = socket.create_connection(listener.getsockname())
        sock.sendall(data)
        sock.recv(1)
        os._exit(0)
    server, _ = listener.accept()
    sockets.extend((server, listener))
    got = b""
    while len(got) < 10_000:
        got += take(server, 10_000 - len(got))
    time.sleep(0.05)
    with wsdirect.recv_lease(server, len(data)) as lease:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        got += bytes(lease)
    return got == data, len(outcome(take, server))  # b"", or the name of an error


@scenario
def reset() -> Any:
    a, b = pair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.sendall(b"gone")
    time.sleep(0.05)
    with wsdirect.recv_lease(b) as lease:
        a.close()
        return bytes(lease).decode()


@scenario
def forked() -> Any:
    a, b = pair()
    a.sendall(b"0123456789")
    time.sleep(0.05)
    lease = wsdirect.recv_lease(b, 4)
    child = os.fork()
    if child == 0:
        good = bytes(lease) == b"0123"
        lease.release()  # the parent's, not this one's
        os._exit(0 if good else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = bytes(lease)
    lease.release()
    return status, seen.decode()


@scenario
def wrong_sockets() -> Any:
    import ssl

    one, two = socket.socketpair()
    sockets.extend((one, two))
    context = ssl.create_default_context()
    context.check_hostname = False
    tls = context.wrap_socket(one, do_handshake_on_connect=False)
    seen = [outcome(wsdirect.recv_lease, tls), outcome(wsdirect.send_region, tls, 1)]
    tls.detach()
    plain = socket.socket()
    sockets.append(plain)
    seen += [
        outcome(wsdirect.recv_lease, plain, timeout=0),
        outcome(wsdirect.recv_lease, 3),
        outcome(wsdirect.recv_lease, plain, 0),
    ]
    two.sendall(b"")
    return seen


@scenario
def threads_and_sizes() -> Any:
    """Two connections, both ways at once, by all four ways of sending and receiving."""
    total = 6 << 20
    results: list[bool] = []

    def send(sock: socket.socket, seed: int) -> None:
        rng, left = random.Random(seed), total
        source = random.Random(seed + 100)
        digest = hashlib.sha256()
        while left:
            size = min(left, rng.choice((1, 100, 5_000, 70_000, 300_000)) * rng.randint(1, 3))
            data = source.randbytes(size)
            digest.update(data)
            if rng.random() < 0.5:
                sock.sendall(data)
            else:
                with wsdirect.send_region(sock, size + 10) as region:
                    region.data[:size] = data
                    region.commit(size)
            left -= size
        sock.sendall(digest.digest())

    def receive(sock: socket.socket, seed: int) -> None:
        rng, left = random.Random(seed), total
        digest = hashlib.sha256()
        while left:
            size = min(left, rng.choice((1, 100, 5_000, 70_000, 600_000)))
            if rng.random() < 0.3:
                data = sock.recv(size)
                digest.update(data)
                left -= len(data)
                continue
            with wsdirect.recv_lease(sock, size) as lease:
                n = rng.choice((len(lease), rng.randint(0, len(lease))))
                digest.update(lease.data[:n])
                lease.consume(n)
                left -= n
        results.append(take_all(sock, 32) == digest.digest())

    threads = []
    for seed in range(2):
        a, b = pair()
        for n, (sock, peer) in enumerate(((a, b), (b, a))):
            threads.append(threading.Thread(target=send, args=(sock, 10 * seed + n)))
            threads.append(threading.Thread(target=receive, args=(peer, 20 * seed + n)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@scenario
def large_and_passed_on() -> Any:
    """Much is sent, so that the ring grows; others read on while it is full."""
    data = random.Random(6).randbytes(8 << 20)
    seen = []
    for way in ("fork", "pass", "bare"):
        ours, theirs = socket.socketpair()
        child = os.fork() if way == "pass" else 0
        if way == "pass" and child == 0:  # a process that has never seen the connection
            _, [fd], _, _ = socket.recv_fds(theirs, 1, 1)
            read_to_end_and_exit(socket.socket(fileno=fd))
        a, b = pair()
        thread = threading.Thread(target=a.sendall, args=(data,))
        thread.start()
        got = take_all(b, 6 << 20)
        time.sleep(0.1)  # until it is full
        if way == "fork":
            child = os.fork()
            if child == 0:
                a.close()
                read_to_end_and_exit(b)
            thread.join()
            a.close()
            status: Any = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        elif way == "pass":
            socket.send_fds(ours, [b"x"], [b.fileno()])
            b.close()
            thread.join()
            a.close()
            status: Any = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            program = (
                "import hashlib, sys\nprint(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
            )
            reader = subprocess.Popen(
                [sys.executable, "-I", "-c", program], stdin=b, stdout=subprocess.PIPE,
                env={"WSDIRECT": "0"},
            )  # fmt: skip
            b.close()
            thread.join()
            a.close()
            digest = reader.communicate(timeout=60)[0].strip()
            status = digest.decode() == hash_of(data[6 << 20 :])
        seen.append((status, got == data[: 6 << 20]))
        ours.close()
        theirs.close()
    return seen


def read_to_end_and_exit(sock: socket.socket) -> None:
    status = 1
    try:
        rest = b""
        while piece := sock.recv(1 << 18):
            rest += piece
        status = int(rest != random.Random(6).randbytes(8 << 20)[6 << 20 :])
    finally:
        os._exit(status)


def switched_only() -> Any:
    """What is known only where the bytes are in place."""
    a, b = pair()
    seen: dict[str, Any] = {}
    places = []
    rng = random.Random(5)
    for _ in range(40):  # three times round the ring, by pieces that do not fit into it evenly
        data = rng.randbytes(70_001)
        with wsdirect.send_region(a, len(data)) as region:
            places.append(region.in_place)
            region.data[:] = data
        with wsdirect.recv_lease(b, len(data)) as lease:
            places.append(lease.in_place and lease.data == data)
    seen["places"] = all(places)
    a.sendall(b"0123456789")
    with wsdirect.recv_lease(b, 4) as lease, wsdirect.send_region(b, 4) as region:
        seen["busy"] = [
            outcome(b.recv, 1),
            outcome(b.recv_into, bytearray(1)),
            outcome(wsdirect.recv_lease, b),
            outcome(b.send, b"x"),
            outcome(b.sendall, b"x" * 100_000),
            outcome(wsdirect.send_region, b, 1),
        ]
        region.cancel()
    seen["after"] = b.recv(100).decode()
    a.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            a.send(bytes(50_000))
    seen["no room"] = [outcome(wsdirect.send_region, a, 5)]
    a.settimeout(0.02)
    seen["no room"].append(outcome(wsdirect.send_region, a, 5))

    def free() -> None:
        time.sleep(0.05)  # so that the other waits
        while take(b, 1 << 20):
            pass

    thread = threading.Thread(target=free)
    thread.start()
    with wsdirect.send_region(a, 1000, timeout=10) as region:
        seen["room"] = region.in_place
    a.close()
    thread.join()
    return seen


def mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum("wsdirect-segment" in line for line in maps)


def nothing_left() -> Any:
    """Mappings and descriptors after some leases, after many more, and the most in between."""
    listener = socket.create_server(("127.0.0.1", 0))
    most = 0
    counts = []
    for _ in range(2):
        for _ in range(20):
            a, b = pair(listener)
            for _ in range(8):
                with wsdirect.send_region(a, 60_000) as region:
                    region.data[:3] = b"abc"
                with wsdirect.recv_lease(b, 60_000):
                    most = max(most, mappings())
            a.close()
            b.close()
        del a, b, region
        sockets.clear()
        gc.collect()
        counts.append([mappings(), len(os.listdir("/proc/self/fd"))])
    listener.close()
    return {"counts": counts, "most": most}


def connected(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(sock.getpeername())
    return False


def main() -> None:
    names = {**scenarios, "switched_only": switched_only, "nothing_left": nothing_left}
    result = names[sys.argv[1]]()
    print(json.dumps({"result": result, "switched": [
        wsdirect.is_switched(sock) for sock in sockets
        if sock.fileno() >= 0 and sock.family == socket.AF_INET and connected(sock)
    ]}))  # fmt: skip
    for sock in sockets:
        sock.close()


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads
    main()
