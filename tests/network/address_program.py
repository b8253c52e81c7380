"""Connects between all sorts of addresses and prints, as JSON, what each socket says its name is.

test_addresses.py runs it on plain TCP and under the launcher: every answer must be the same.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import sys

V4, V6 = socket.AF_INET, socket.AF_INET6
MAPPED = "::ffff:127.0.0.1"
LINK_LOCAL = "fe80::77"
SO_MARK = 36
TRANSPARENT = (socket.IPPROTO_IP, 19, 1)
answers: dict[str, object] = {}
paths: dict[str, list[str]] = {}


def path_of(sock) -> str:
    enable = sys.modules.get("wsdirect.front.enable")
    if enable is None:
        return "tcp"
    info = enable.info(sock)
    return info["path"] if info["path"] != "tcp" else info["reason"]


def failure(error: OSError) -> list[str]:
    return [type(error).__name__, errno.errorcode.get(error.errno, str(error))]


def family_of(host: str) -> int:
    return V6 if ":" in host else V4


def listener(host, *options, family=None, port=0):
    server = socket.socket(family_of(host) if family is None else family)
    try:
        for option in options:
            server.setsockopt(*option)
        server.bind((host, port) if not isinstance(host, tuple) else host)
        server.listen()
        server.settimeout(0.01)
        with contextlib.suppress(TimeoutError):  # the first accept is what opens the SAN side
            server.accept()
        server.settimeout(20)
    except BaseException:
        server.close()
        raise
    return server


def visible(server, client, name):
    """The names that both ends show, with the ports as what they are."""
    ports = {server.getsockname()[1]: "server", client.getsockname()[1]: "client"}

    def named(address):
        return [ports.get(part, part) if i == 1 else part for i, part in enumerate(address)]

    accepted, peer = server.accept()
    with accepted:
        paths[name] = [path_of(client), path_of(accepted)]
        client.sendall(name.encode())
        assert accepted.recv(1000) == name.encode()
        return [
            named(address)
            for address in (
                server.getsockname(),
                client.getsockname(),
                client.getpeername(),
                peer,
                accepted.getsockname(),
                accepted.getpeername(),
            )
        ]


def client_of(server, family, options, source):
    """A socket, bound if `source` says so, but not to the port that is called the server's."""
    while True:
        client = socket.socket(family)
        try:
            for option in options:
                client.setsockopt(*option)
            if source is not None:
                client.bind(source)
            if client.getsockname()[1] != server.getsockname()[1]:
                return client
        except OSError:
            client.close()
            raise
        client.close()


def attempt(name, server, host, *rest, family=None, options=(), source=None, within=20):
    """Connect to the port of `server` under a host name; the answer is what is visible then."""
    family = family_of(host) if family is None else family
    try:
        with client_of(server, family, options, source) as client:
            client.settimeout(within)
            client.connect((host, server.getsockname()[1], *rest))
            answers[name] = visible(server, client, name)
    except OSError as error:
        answers[name] = failure(error)


def only_v6(on):
    return (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, on)


REUSE_ADDRESS = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
REUSE_PORT = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def to_device(name):
    return (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)


def names_of_connections():
    with listener("127.0.0.1") as server:
        attempt("loopback", server, "127.0.0.1")
        attempt("its mapped address", server, MAPPED)
        attempt("another address than it listens on", server, "127.0.0.2")
        attempt("the other family", server, "::1")
        attempt("a name", server, "localhost", family=V4)
        attempt("no name", server, "", family=V4)
        attempt("any", server, "0.0.0.0")
        attempt("the mapped any", server, "::ffff:0.0.0.0")
        attempt("any of IPv6, which is not IPv4's", server, "::")
        attempt("bound to an address", server, "127.0.0.1", source=("127.0.0.5", 0))
        attempt("bound to any", server, "127.0.0.1", source=("", 0))
        attempt("bound to a far one", server, "127.0.0.1", source=("10.9.8.7", 0))
        attempt("bound mapped", server, MAPPED, source=("::ffff:127.0.0.5", 0))
        attempt("bound to any of both families", server, MAPPED, source=("::", 0))
        attempt("bound to IPv6, connects IPv4", server, MAPPED, source=("::1", 0))
        attempt("IPv6 alone, connects IPv4", server, MAPPED, options=[only_v6(1)])
        attempt("through loopback", server, "127.0.0.1", options=[to_device(b"lo")])
        attempt(
            "through another device", server, "127.0.0.1", options=[to_device(b"d0")], within=0.2
        )
        attempt("marked", server, "127.0.0.1", options=[(socket.SOL_SOCKET, SO_MARK, 7)])
        attempt("transparent", server, "127.0.0.1", options=[TRANSPARENT])
        attempt("quick", server, "127.0.0.1", options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
    with listener("127.0.0.2") as server:
        attempt("the second of many loopbacks", server, "127.0.0.2")
        attempt("any, where only the second listens", server, "0.0.0.0")
    with listener("0.0.0.0") as server:
        attempt("any: loopback", server, "127.0.0.1")
        attempt("any: far in 127/8", server, "127.9.9.9")
        attempt("any: the broadcast address of 127/8", server, "127.255.255.255")
        attempt("any: any", server, "0.0.0.0")
        attempt("any: the interface's address", server, "10.9.8.7")
        attempt("any: its second address", server, "10.9.8.6")
        attempt("any: mapped", server, MAPPED)
        attempt("any: IPv6", server, "::1")
    for host in ("10.9.8.7", "10.9.8.6", "fd00::7"):
        with listener(host) as server:
            attempt(f"listens on {host}", server, host)
            attempt(
                f"listens on {host}, not on loopback", server, "::1" if ":" in host else "127.0.0.1"
            )
    with listener("::1") as server:
        attempt("IPv6 loopback", server, "::1")
        attempt("IPv6 loopback, all four", server, "::1", 0, 0)
        attempt("IPv6 loopback with a flow", server, "::1", 5, 0)
        attempt("IPv6 loopback, bound", server, "::1", source=("fd00::7", 0))
    for name, flag in (("both", 0), ("IPv6 alone", 1)):
        with listener("::", only_v6(flag)) as server:
            for host in ("::1", "::", "fd00::7", "127.0.0.1", "0.0.0.0", "10.9.8.6", MAPPED):
                attempt(f"any of {name}: {host}", server, host)
            attempt(f"any of {name}: no name", server, "", family=V6)
    with listener(MAPPED) as server:
        attempt("listens mapped", server, "127.0.0.1")
        attempt("listens mapped: mapped", server, MAPPED)


def names_of_link_local_addresses():
    index = socket.if_nametoindex("d0")
    with listener((LINK_LOCAL, 0, 0, index), family=V6) as server:
        attempt("link-local", server, LINK_LOCAL, 0, index)
        attempt("link-local, the scope in the name", server, f"{LINK_LOCAL}%d0", family=V6)
        attempt("link-local without a scope", server, LINK_LOCAL)
    with listener("::") as server:
        attempt("any: link-local", server, LINK_LOCAL, 0, index)


def who_gets_the_client():
    """Several listeners on one port: the answer names the one that TCP chooses."""

    def ask(name, hosts, listeners):
        for host in hosts:
            with socket.create_connection((host, port), timeout=20) as client:
                for which, server in enumerate(listeners):
                    server.settimeout(0)
                    with contextlib.suppress(BlockingIOError):
                        accepted, _ = server.accept()
                        accepted.close()
                        answers[f"{name}: {host}"] = which
                        paths[f"{name}: {host}"] = [path_of(client)]

    with listener("127.0.0.1") as first:
        port = first.getsockname()[1]
        with listener("127.0.0.2", port=port) as second, listener("::1", port=port) as third:
            ask("specific", ["127.0.0.1", "127.0.0.2", "::1"], [first, second, third])
    with listener("0.0.0.0") as first:
        port = first.getsockname()[1]
        with listener("::", only_v6(1), port=port) as second:
            ask("two wildcards", ["127.0.0.1", "127.0.0.2", "::1"], [first, second])
    with listener("0.0.0.0", REUSE_PORT) as first:
        port = first.getsockname()[1]
        with (
            listener("127.0.0.1", REUSE_PORT, port=port) as second,
            listener("::", REUSE_PORT, only_v6(0), port=port) as third,
        ):
            ask("mixed", ["127.0.0.1", "127.0.0.2", "::1"], [first, second, third])
    for name, options in (("plain", ()), ("reused", (REUSE_ADDRESS,))):
        with listener("127.0.0.1", *options) as first:
            port = first.getsockname()[1]
            for host in ("127.0.0.1", "0.0.0.0", "::"):
                try:
                    listener(host, *options, port=port).close()
                    answers[f"{name}, a second listener on {host}"] = "listens"
                except OSError as error:
                    answers[f"{name}, a second listener on {host}"] = failure(error)


def a_port_again():
    """A server that is closed and comes back at once, with clients that were connected."""
    with listener("127.0.0.1", REUSE_ADDRESS) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        accepted, _ = server.accept()
        accepted.close()
    for round_ in range(3):
        with listener("127.0.0.1", REUSE_ADDRESS, port=port) as server:
            attempt(f"again, round {round_}", server, "127.0.0.1")
    answers["the old connection"] = [client.recv(1).hex()]
    client.close()
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20)
    except OSError as error:
        answers["nobody listens any more"] = failure(error)


def listeners_with_options():
    for name, option in {
        "on a device": to_device(b"d0"),
        "on loopback": to_device(b"lo"),
        "marked": (socket.SOL_SOCKET, SO_MARK, 7),
        "transparent": TRANSPARENT,
        "filtered": (socket.SOL_SOCKET, 26, a_filter()),
    }.items():
        with listener("0.0.0.0", option) as server:
            attempt(f"listens {name}", server, "127.0.0.1")


def a_filter():
    """SO_ATTACH_FILTER: a classic packet filter that takes everything."""
    import ctypes

    global kept
    kept = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0x40000))
    return struct.pack("@HP", 1, ctypes.addressof(kept))


def ephemeral_ports():
    """Connections have ports of their own, even many at a time, and a bound one keeps its port."""
    with listener("127.0.0.1") as server:
        address = server.getsockname()
        clients = [socket.create_connection(address, timeout=20) for _ in range(100)]
        accepted = [server.accept()[0] for _ in clients]
        ports = [client.getsockname()[1] for client in clients]
        answers["ports"] = [
            len(set(ports)),
            sorted(ports) == sorted(sock.getpeername()[1] for sock in accepted),
        ]
        bound = socket.create_connection(address, timeout=20, source_address=("127.0.0.3", 0))
        accepted.append(server.accept()[0])
        with socket.socket() as other:
            try:
                other.bind(bound.getsockname())
                answers["a port that is taken"] = "bound"
            except OSError as error:
                answers["a port that is taken"] = failure(error)
        for sock in (*clients, *accepted, bound):
            sock.close()


for part in (
    names_of_connections,
    names_of_link_local_addresses,
    who_gets_the_client,
    a_port_again,
    listeners_with_options,
    ephemeral_ports,
):
    part()
json.dump({"answers": answers, "paths": paths}, sys.stdout)
