import os
import socket
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect._core import native
from wsdirect.providers.shm.addresses import is_local, local_addresses
from wsdirect.providers.shm.names import (
    MESSAGES,
    NATIVE,
    NEW_SEGMENT,
    STREAMS,
    listener_name,
    name_bases,
    pack_offer,
    parse_host,
    unpack_offer,
)

LOOPBACK = parse_host("127.0.0.1")


def good(**changes):
    fields = {
        "flags": NATIVE,
        "pid": 77,
        "segment": 2**63 + 5,
        "slot": 63,
        "generation": 2**30 - 1,
        "local": LOOPBACK,
        "local_port": 45000,
        "remote": parse_host("10.1.2.3"),
        "remote_port": 80,
    }
    return pack_offer(*(fields | changes).values())


def test_offer_survives_its_name():
    name = good()
    assert len(name) <= 108
    offer = unpack_offer(name)
    assert (offer.flags, offer.pid, offer.segment) == (NATIVE, 77, 2**63 + 5)
    assert (offer.slot, offer.generation) == (63, 2**30 - 1)
    assert (offer.local.text, offer.local_port) == ("127.0.0.1", 45000)
    assert (offer.remote.text, offer.remote_port) == ("10.1.2.3", 80)


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        b"",
        "/tmp/path",
        b"\0",
        b"\0" + b"x" * 107,
        good()[:-1],
        good() + b"\0",
        good().replace(b"/o/", b"/p/", 1),
        good(flags=4),
        good(pid=0),
        good(segment=0),
        good(local=parse_host("0.0.0.0")),
        good(remote=parse_host("0.0.0.0")),
        good(remote=parse_host("::")),
        good(remote=parse_host("::1")),  # families do not fit
        good(remote_port=0),
    ],
)
def test_invalid_names_hold_no_offer(name):
    assert unpack_offer(name) is None


@pytest.fixture
def listening():
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(b"\0wsdirect-test-%d" % os.getpid())
        made.listen(4)
        made.setblocking(False)
        yield made


def test_the_core_names_its_offers_alike(listening):
    segment, remote, own = native.Segment.create(slots=2), parse_host("10.1.2.3"), os.getpid()
    dialer = native.Dialer(
        listening.getsockname(), own, own, 0, LOOPBACK.packed, remote.packed, 80, 3.0
    )
    with socket.socket() as client:
        stream = dialer.dial(segment, client.fileno(), 45000)
        accepted, name = listening.accept()
        accepted.close()
    assert name == pack_offer(
        NATIVE, own, segment.id, stream.slot, stream.generation, LOOPBACK, 45000, remote, 80
    )


@pytest.mark.parametrize(
    "name",
    [
        b"\0" + b"x" * 69,
        good(),  # in the name of another process
        good(pid=os.getpid(), flags=NATIVE | NEW_SEGMENT),
        good(pid=os.getpid(), flags=0),
        good(pid=os.getpid(), remote_port=81),
        good(pid=os.getpid(), local=parse_host("10.9.9.9")),  # not of this host
        good(pid=os.getpid(), segment=7),
        good(pid=os.getpid(), slot=2),
        good(pid=os.getpid(), generation=3),
    ],
)
def test_the_core_hands_over_whoever_is_not_as_usual(listening, name):
    segment = native.Segment.create(slots=2)
    known = {((os.getpid(), os.geteuid()), 2**63 + 5): weakref.ref(segment)}

    def meant(local, remote):
        return None if local[12] == 10 else ("127.0.0.1", "10.1.2.3")

    acceptor = native.Acceptor(listening.fileno(), 80, known, meant)
    assert acceptor.take() is None
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(name)
        client.connect(listening.getsockname())
        descriptor, told = acceptor.take()
        os.close(descriptor)
    assert told == name
    acceptor.close()
    assert acceptor.take() is False


@given(st.binary(max_size=120))
def test_garbage_is_no_offer(data):
    assert unpack_offer(data) is None


@given(st.binary(min_size=56, max_size=56))
def test_garbage_behind_the_prefix_never_raises(data):
    unpack_offer(good()[:-56] + data)


def test_hosts_have_one_form_each():
    assert parse_host("::ffff:127.0.0.1") is LOOPBACK
    assert parse_host("0:0::1").text == "::1"
    assert parse_host("0.0.0.0").wildcard
    assert parse_host("::").wildcard
    assert not LOOPBACK.wildcard


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4.5", "::g", "fe80::1%lo", "\0"])
def test_what_is_no_address(text):
    with pytest.raises((OSError, ValueError)):
        parse_host(text)


def test_a_listener_has_one_of_the_names_that_clients_try():
    for kind in (STREAMS, MESSAGES):
        bases = name_bases(kind, LOOPBACK, 80)
        assert listener_name(kind, LOOPBACK, 80) == bases[0]
        assert listener_name(kind, parse_host("0.0.0.0"), 80, both_families=True) == bases[1]
        assert listener_name(kind, parse_host("::"), 80, both_families=True) == bases[2]
        assert listener_name(kind, parse_host("::"), 80) not in bases
        assert listener_name(kind, parse_host("::"), 80) in name_bases(kind, parse_host("::1"), 80)
    assert not set(name_bases(STREAMS, LOOPBACK, 80)) & set(name_bases(MESSAGES, LOOPBACK, 80))
    longest = parse_host("1111:2222:3333:4444:5555:6666:7777:8888")
    assert max(map(len, name_bases(STREAMS, longest, 65535))) + 4 <= 108


def test_flags_are_kept():
    assert unpack_offer(good(flags=NEW_SEGMENT)).flags == NEW_SEGMENT


def test_addresses_of_this_host():
    addresses = local_addresses()
    assert "127.0.0.1" in addresses
    assert all(is_local(parse_host(address)) for address in addresses)
    assert is_local(parse_host("127.9.8.7"))
    assert not is_local(parse_host("192.0.2.1"))
    assert not is_local(parse_host("0.0.0.0"))
    assert not is_local(parse_host("2001:db8::1"))
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    assert is_local(parse_host("::1"))
