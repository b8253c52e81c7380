"""Quality of service: the parts all providers share, and what the shared-memory SAN makes of it."""

import os

import pytest

from tests.providers.helpers import HOST, San, code_of
from wsdirect.providers.qos import (
    QOS_PACKED,
    Groups,
    Service,
    by_name,
    checked,
    mirrored,
    pack_qos,
    refuse_unmet,
    settled,
    unpack_qos,
)
from wsdirect.spi.constants import (
    AF_INET,
    CF_ACCEPT,
    FD_CONNECT,
    IPPROTO_TCP,
    SERVICETYPE_BESTEFFORT,
    SERVICETYPE_CONTROLLEDLOAD,
    SERVICETYPE_GUARANTEED,
    SERVICETYPE_NOCHANGE,
    SERVICETYPE_NOTRAFFIC,
    SG_CONSTRAINED_GROUP,
    SG_UNCONSTRAINED_GROUP,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SOCK_STREAM,
    SOL_SOCKET,
    XP1_CONNECT_DATA,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.native import SO_NATIVE_STREAM
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import FLOWSPEC, QOS
from wsdirect.testing.processes import Child

E = WsaErrorCode
QUIET = FLOWSPEC(ServiceType=SERVICETYPE_NOTRAFFIC)


def rate(bytes_per_second, kind=SERVICETYPE_CONTROLLEDLOAD):
    return FLOWSPEC(TokenRate=bytes_per_second, ServiceType=kind)


def grouped(san, group, host=HOST):
    s = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, None, group)
    san.provider.WSPBind(s, (host, 0))
    return s


def group_of(san, s):
    return san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_GROUP_ID)


def qos_of(san, s):
    return san.provider.WSPIoctl(s, SIO_GET_QOS)


def connect(san, s, port, *arguments, host=HOST):
    """Begin to connect; the event of the outcome."""
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    assert code_of(san.provider.WSPConnect, s, (host, port), None, None, *arguments) == (
        E.WSAEWOULDBLOCK
    )
    return event


# --- templates ----------------------------------------------------------------------------------


def test_every_template_can_be_asked_for_and_met(san):
    names = san.provider.WSPGetQOSByName(san.socket(), "")
    assert {"G711", "G729", "GSM6.10", "H261CIF", "BULK", "INTERACTIVE"} <= set(names)
    for name in names:
        qos = by_name(name)
        assert by_name(name.lower()) == qos
        assert by_name(name.encode("utf-16-le") + b"\0\0") == qos
        assert checked(qos, "") == qos
        refuse_unmet(qos, "", 2040)
        by_name(name).SendingFlowspec.TokenRate = 7  # one's own copy
        assert by_name(name) == qos
    assert by_name("G711").SendingFlowspec.TokenRate == 8000 + 50 * 40


@pytest.mark.parametrize(
    ("name", "code"),
    [("G.711", E.WSAEINVAL), ("x" * 1000, E.WSAEINVAL), (b"\0\xd8", E.WSAEINVAL), (5, E.WSAEFAULT)],
)
def test_unknown_templates(san, name, code):
    assert code_of(san.provider.WSPGetQOSByName, san.socket(), name) == code
    assert code_of(san.provider.WSPGetQOSByName, -1, name) == E.WSAENOTSOCK


# --- flow specs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"TokenRate": 0}, 0),
        ({"TokenRate": -1}, E.WSAEINVAL),
        ({"Latency": 2**32}, E.WSAEINVAL),
        ({"Latency": "soon"}, E.WSAEINVAL),
        ({"ServiceType": 4}, E.WSAEINVAL),
        ({"ServiceType": 0x40000001}, E.WSAEINVAL),
        ({"ServiceType": SERVICETYPE_GUARANTEED}, E.WSAEOPNOTSUPP),
        ({"TokenRate": 100, "PeakBandwidth": 99}, E.WSAEINVAL),
        ({"MaxSduSize": 0}, E.WSAEINVAL),
        ({"MaxSduSize": 65536, "ServiceType": SERVICETYPE_CONTROLLEDLOAD}, 0),
        ({"MaxSduSize": 65537, "ServiceType": SERVICETYPE_CONTROLLEDLOAD}, E.WSAEOPNOTSUPP),
        ({"MaxSduSize": 65537}, 0),
    ],
)
@pytest.mark.parametrize("sending", [True, False])
def test_what_can_be_asked_for(san, port, changes, code, sending):
    flow = FLOWSPEC(**changes)
    qos = QOS(flow, None) if sending else QOS(None, flow)
    s = san.socket()
    assert code_of(san.provider.WSPIoctl, s, SIO_SET_QOS, qos) == code
    assert qos_of(san, s) == (QOS() if code else qos)
    san.listen(port)
    s = san.socket()
    san.provider.WSPEventSelect(s, Event(), FD_CONNECT)
    expected = code or E.WSAEWOULDBLOCK
    assert code_of(san.provider.WSPConnect, s, (HOST, port), None, None, qos) == expected
    if code:  # and nothing has happened
        assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAEWOULDBLOCK


@pytest.mark.parametrize("wrong", [5, "G711", FLOWSPEC(), b"x" * 80])
def test_what_is_no_qos(san, port, wrong):
    s = san.socket()
    assert code_of(san.provider.WSPIoctl, s, SIO_SET_QOS, wrong) == E.WSAEFAULT
    assert code_of(san.provider.WSPConnect, s, (HOST, port), None, None, wrong) == E.WSAEFAULT
    provider_specific = QOS(ProviderSpecific=b"objects")
    assert code_of(san.provider.WSPIoctl, s, SIO_SET_QOS, provider_specific) == E.WSAEOPNOTSUPP


def test_set_and_get(san):
    s = san.socket()
    assert qos_of(san, s) == QOS()
    qos = by_name("G711")
    assert san.provider.WSPIoctl(s, SIO_SET_QOS, qos) is None
    qos.SendingFlowspec.TokenRate = 1  # it was copied
    assert qos_of(san, s) == by_name("G711")
    qos_of(san, s).SendingFlowspec.TokenRate = 1
    assert qos_of(san, s) == by_name("G711")
    keep = FLOWSPEC(ServiceType=SERVICETYPE_NOCHANGE)
    san.provider.WSPIoctl(s, SIO_SET_QOS, QOS(keep, QUIET))
    assert qos_of(san, s) == QOS(by_name("G711").SendingFlowspec, QUIET)
    for size, code in ((0, E.WSAEFAULT), (79, E.WSAEFAULT), (80, 0), (None, 0)):
        assert code_of(san.provider.WSPIoctl, s, SIO_GET_QOS, b"", size) == code
    with pytest.raises(OSError, match="80 bytes") as caught:
        san.provider.WSPIoctl(s, SIO_GET_QOS, b"", 8)
    assert caught.value.required == 80
    native = san.socket(native=True)
    assert code_of(san.provider.WSPIoctl, native, SIO_SET_QOS, QOS()) == E.WSAEOPNOTSUPP
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)
    assert code_of(san.provider.WSPConnect, s, (HOST, 80)) == E.WSAEOPNOTSUPP


def test_packed_and_back():
    for name in by_name(""):
        qos = by_name(name)
        assert len(pack_qos(qos)) == QOS_PACKED
        assert unpack_qos(pack_qos(qos)) == qos
        assert mirrored(mirrored(qos)) == qos


@pytest.mark.parametrize("packed", [b"", bytes(QOS_PACKED - 1), b"\xff" * QOS_PACKED])
def test_what_peers_may_not_send(packed):
    assert unpack_qos(packed) is None


def test_settled_is_the_lower_service():
    asked = QOS(rate(1000), rate(2000))
    assert settled(None, None) is None
    assert settled(asked, None) == asked
    own = QOS(rate(1, SERVICETYPE_BESTEFFORT), QUIET)
    found = settled(asked, own)
    assert found.SendingFlowspec == rate(1000, SERVICETYPE_BESTEFFORT)
    assert found.ReceivingFlowspec == rate(2000, SERVICETYPE_NOTRAFFIC)
    assert settled(None, own).ReceivingFlowspec == QUIET


# --- connections --------------------------------------------------------------------------------


def test_both_ends_know_what_was_settled(san, port):
    listener, s = san.listen(port), san.socket()
    asked = QOS(rate(1000), rate(2000))
    group = QOS(rate(3000), rate(4000))
    event = connect(san, s, port, asked, group)
    seen = []

    def condition(request):
        seen.append((mirrored(request.sqos), request.gqos))
        request.sqos.SendingFlowspec.TokenRate = 7  # its own copy
        return CF_ACCEPT

    accepted, _ = san.accept(listener, condition)
    assert san.connected(s, event) == 0
    assert seen == [(QOS(rate(1000), rate(2000)), QOS(rate(4000), rate(3000)))]
    assert qos_of(san, s) == asked
    assert qos_of(san, accepted) == mirrored(asked)


def test_nobody_asks_nobody_is_told(san, port):
    seen = []
    listener, s = san.listen(port), san.socket()
    event = connect(san, s, port)
    san.accept(listener, lambda request: seen.append((request.sqos, request.gqos)) or CF_ACCEPT)
    assert san.connected(s, event) == 0
    assert seen == [(None, None)]
    assert qos_of(san, s) == QOS()


def test_what_was_set_before_is_asked_for(san, port):
    listener, s = san.listen(port), san.socket()
    san.provider.WSPIoctl(s, SIO_SET_QOS, QOS(rate(5), rate(6)))
    seen = []
    event = connect(san, s, port)
    san.accept(listener, lambda request: seen.append(request.sqos) or CF_ACCEPT)
    assert san.connected(s, event) == 0
    assert seen == [QOS(rate(6), rate(5))]


def test_the_listener_may_grant_less(san, port):
    listener, s = san.listen(port), san.socket()
    san.provider.WSPIoctl(listener, SIO_SET_QOS, QOS(None, None))
    event = connect(san, s, port, QOS(rate(1000), rate(2000)))
    accepted, _ = san.accept(listener)
    assert san.connected(s, event) == 0
    granted = QOS(rate(1000, SERVICETYPE_BESTEFFORT), rate(2000, SERVICETYPE_BESTEFFORT))
    assert qos_of(san, s) == granted
    assert qos_of(san, accepted) == mirrored(granted)


@pytest.mark.parametrize("who", ["caller", "listener"])
def test_no_traffic_is_enforced_on_both_ends(san, port, who):
    listener, s = san.listen(port), san.socket()
    if who == "listener":
        san.provider.WSPIoctl(listener, SIO_SET_QOS, QOS(QUIET, None))
        event = connect(san, s, port)
    else:
        event = connect(san, s, port, QOS(None, QUIET))
    accepted, _ = san.accept(listener)
    assert san.connected(s, event) == 0

    def request(call, *arguments):
        return code_of(call, *arguments, 0, WSAOVERLAPPED(polled=True))

    assert request(san.provider.WSPSend, accepted, [b"x"]) == E.WSAEOPNOTSUPP
    assert request(san.provider.WSPRecv, s, [bytearray(1)]) == E.WSAEOPNOTSUPP
    san.send(s, b"one way")
    assert san.receive(accepted) == b"one way"
    # A later change holds for this end.
    san.provider.WSPIoctl(s, SIO_SET_QOS, QOS(QUIET, None))
    assert request(san.provider.WSPSend, s, [b"x"]) == E.WSAEOPNOTSUPP


def test_qos_goes_to_another_process_and_back(san, port):
    """Options and quality of service travel with a duplicated socket."""

    def taker(link):
        mine = San()
        link.put(os.getpid())
        s = mine.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, link.get())
        link.put(
            (
                qos_of(mine, s),
                group_of(mine, s),
                mine.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_GROUP_PRIORITY),
                mine.provider.WSPIoctl(s, SIO_GET_GROUP_QOS),
            )
        )
        other = link.get()
        sibling = grouped(mine, group_of(mine, s), "127.0.0.2")
        address = ("127.0.0.2", port)
        code = code_of(mine.provider.WSPConnect, sibling, address)
        link.put((code, mine.provider.WSPDuplicateSocket(s, other)))
        link.get()
        mine.close()

    listener = san.listen(port)
    s = grouped(san, SG_CONSTRAINED_GROUP)
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_GROUP_PRIORITY, 5)
    group = group_of(san, s)
    event = connect(san, s, port, by_name("G729"), by_name("BULK"))
    accepted, _ = san.accept(listener)
    assert san.connected(s, event) == 0
    with Child(taker) as child:
        child_pid = child.link.get()
        child.link.put(san.provider.WSPDuplicateSocket(s, child_pid))
        assert child.link.get() == (by_name("G729"), group, 5, by_name("BULK"))
        san.provider.WSPCloseSocket(s)
        assert len(san.provider._san.groups) == 0
        child.link.put(os.getpid())
        code, info = child.link.get()
        assert code == E.WSAEINVAL  # it is a constrained group there, too
        s = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, info)
        assert (qos_of(san, s), group_of(san, s)) == (by_name("G729"), group)
        san.send(s, b"x")
        assert san.receive(accepted) == b"x"
        # It is a constrained group still.
        third = grouped(san, group)
        san.provider.WSPListen(san.socket(port + 9000, "127.0.0.2"))
        address = ("127.0.0.2", port + 9000)
        assert code_of(san.provider.WSPConnect, third, address) == E.WSAEINVAL
        child.link.put(None)


# --- groups -------------------------------------------------------------------------------------


def test_the_catalogue_promises_it(san):
    flags = san.provider.protocol_info.dwServiceFlags1
    assert flags & XP1_QOS_SUPPORTED
    assert flags & XP1_CONNECT_DATA


def test_groups_are_made_joined_and_end(san):
    plain = san.socket()
    assert group_of(san, plain) == 0
    a = grouped(san, SG_UNCONSTRAINED_GROUP)
    b = grouped(san, SG_UNCONSTRAINED_GROUP)
    number = group_of(san, a)
    assert number > SG_CONSTRAINED_GROUP
    assert group_of(san, b) != number
    c = grouped(san, number)
    assert group_of(san, c) == number
    san.provider.WSPCloseSocket(a)
    d = grouped(san, number)
    san.provider.WSPCloseSocket(c)
    san.provider.WSPCloseSocket(d)
    assert code_of(grouped, san, number) == E.WSAEINVAL
    san.provider.WSPCloseSocket(b)
    assert len(san.provider._san.groups) == 0


def test_priority(san):
    get, set_ = san.provider.WSPGetSockOpt, san.provider.WSPSetSockOpt
    for s in (san.socket(), grouped(san, SG_UNCONSTRAINED_GROUP)):
        assert get(s, SOL_SOCKET, SO_GROUP_PRIORITY) == 0
        set_(s, SOL_SOCKET, SO_GROUP_PRIORITY, 7)
        assert get(s, SOL_SOCKET, SO_GROUP_PRIORITY) == 7
        assert code_of(set_, s, SOL_SOCKET, SO_GROUP_PRIORITY, -1) == E.WSAEINVAL
        assert code_of(set_, s, SOL_SOCKET, SO_GROUP_PRIORITY, "1") == E.WSAEFAULT
        assert code_of(set_, s, SOL_SOCKET, SO_GROUP_ID, 5) == E.WSAENOPROTOOPT
        assert get(s, SOL_SOCKET, SO_GROUP_PRIORITY) == 7


def test_qos_of_a_group(san, port):
    a = grouped(san, SG_UNCONSTRAINED_GROUP)
    b = grouped(san, group_of(san, a))
    ioctl = san.provider.WSPIoctl
    assert ioctl(b, SIO_GET_GROUP_QOS) == QOS()
    ioctl(a, SIO_SET_GROUP_QOS, by_name("G711"))
    assert ioctl(b, SIO_GET_GROUP_QOS) == by_name("G711")
    assert ioctl(b, SIO_GET_QOS) == QOS()  # which is another thing
    san.listen(port)
    connect(san, b, port, None, by_name("BULK"))
    assert ioctl(a, SIO_GET_GROUP_QOS) == by_name("BULK")
    plain = san.socket()
    assert ioctl(plain, SIO_GET_GROUP_QOS) == QOS()
    assert code_of(ioctl, plain, SIO_SET_GROUP_QOS, QOS()) == E.WSAEINVAL
    guaranteed = QOS(FLOWSPEC(ServiceType=SERVICETYPE_GUARANTEED))
    assert code_of(ioctl, a, SIO_SET_GROUP_QOS, guaranteed) == E.WSAEOPNOTSUPP


def test_constrained_group_has_one_host(san, port):
    listener = san.listen(port, host="0.0.0.0")
    first = grouped(san, SG_CONSTRAINED_GROUP)
    number = group_of(san, first)
    event = connect(san, first, port)
    second = grouped(san, number, "127.0.0.2")
    there = (("127.0.0.2"), port)
    call = san.provider.WSPConnect
    assert code_of(call, second, there) == E.WSAEINVAL  # the first is connecting
    san.accept(listener)
    assert san.connected(first, event) == 0
    assert code_of(call, second, there) == E.WSAEINVAL
    assert code_of(call, grouped(san, SG_CONSTRAINED_GROUP, "127.0.0.2"), there) != E.WSAEINVAL
    third = grouped(san, number)
    connect(san, third, port)
    san.provider.WSPCloseSocket(third)
    san.provider.WSPCloseSocket(first)
    san.provider.WSPEventSelect(second, Event(), FD_CONNECT)
    assert code_of(call, second, there) == E.WSAEWOULDBLOCK  # no connections are left


def test_failed_connects_do_not_bind_a_group(san, port):
    first = grouped(san, SG_CONSTRAINED_GROUP)
    assert code_of(san.provider.WSPConnect, first, (HOST, port)) in (
        E.WSAECONNRESET,
        E.WSAETIMEDOUT,
    )
    san.listen(port + 9000, host="127.0.0.2")
    second = grouped(san, group_of(san, first), "127.0.0.2")
    connect(san, second, port + 9000, host="127.0.0.2")


def test_group_of_an_accepted_socket(san, port):
    listener = san.listen(port)
    number = group_of(san, grouped(san, SG_UNCONSTRAINED_GROUP))
    for group, found in ((number, number), (SG_UNCONSTRAINED_GROUP, None), (0, 0)):

        def condition(request, group=group):
            request.group = group
            return CF_ACCEPT

        s, event = san.connect(port)
        accepted, _ = san.accept(listener, condition)
        assert san.connected(s, event) == 0
        assert group_of(san, accepted) == found or (found is None and group_of(san, accepted) > 2)


def test_accepted_socket_of_another_host_is_refused_by_its_group(san, port):
    listener = san.listen(port)
    elsewhere = san.listen(port + 9000, host="127.0.0.2")
    member = grouped(san, SG_CONSTRAINED_GROUP, "127.0.0.2")
    event = connect(san, member, port + 9000, host="127.0.0.2")
    san.accept(elsewhere)
    assert san.connected(member, event) == 0
    number = group_of(san, member)

    def condition(request):
        request.group = number
        return CF_ACCEPT

    s, told = san.connect(port)
    before = len(san.switch.handles)
    assert code_of(san.accept, listener, condition) == E.WSAEINVAL
    assert san.connected(s, told) == E.WSAECONNREFUSED
    assert len(san.switch.handles) == before
    san.provider.WSPCloseSocket(member)
    assert len(san.provider._san.groups) == 0  # the refused one has left, too


def test_a_service_without_a_group_claims_nothing():
    service = Service()
    assert service.claim("anywhere")
    service.free()
    groups = Groups()
    groups.leave(service)
    groups.leave(None)
    assert groups.join(0, "") is None
