import threading

import pytest

from tests.providers.helpers import code_of
from wsdirect.providers.socket_table import (
    REFUSALS,
    TRANSITIONS,
    Socket,
    SocketTable,
    State,
    Step,
    Upcalls,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode

E = WsaErrorCode


def test_every_state_has_its_transitions_and_can_be_closed():
    assert set(TRANSITIONS) == set(State)
    for state, steps in TRANSITIONS.items():
        assert (Step.CLOSE in steps) is (state is not State.CLOSED)


def test_every_state_can_be_reached():
    reached = {State.FRESH}
    while True:
        more = {after for state in reached for after in TRANSITIONS[state].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(State)


def test_calls_are_allowed_where_their_step_is_possible():
    for call, step in (
        ("WSPBind", Step.BIND),
        ("WSPListen", Step.LISTEN),
        ("WSPConnect", Step.CONNECT),
        ("WSPDuplicateSocket", Step.MOVE),
    ):
        allowed = set(State) - set(REFUSALS[call])
        assert allowed == {state for state in State if step in TRANSITIONS[state]}, call


@pytest.mark.parametrize(
    ("call", "codes"),
    [
        # fresh, bound, listening, connecting, connected, broken
        ("WSPBind", (0, E.WSAEINVAL, E.WSAEINVAL, E.WSAEINVAL, E.WSAEINVAL, E.WSAEINVAL)),
        ("WSPListen", (E.WSAEINVAL, 0, 0, E.WSAEINVAL, E.WSAEISCONN, E.WSAEISCONN)),
        (
            "WSPConnect",
            (E.WSAEINVAL, 0, E.WSAEINVAL, E.WSAEALREADY, E.WSAEISCONN, E.WSAEISCONN),
        ),
        ("WSPAccept", (E.WSAEINVAL, E.WSAEINVAL, 0, E.WSAEINVAL, E.WSAEINVAL, E.WSAEINVAL)),
        ("WSPSend", (E.WSAENOTCONN,) * 4 + (0, E.WSAECONNRESET)),
        ("WSPRecv", (E.WSAENOTCONN,) * 4 + (0, E.WSAECONNRESET)),
    ],
)
def test_refusals_are_those_of_the_contract(call, codes):
    paths = (
        (),
        (Step.BIND,),
        (Step.BIND, Step.LISTEN),
        (Step.BIND, Step.CONNECT),
        (Step.BIND, Step.CONNECT, Step.ESTABLISH),
        (Step.BIND, Step.CONNECT, Step.ESTABLISH, Step.BREAK),
    )
    for path, code in zip(paths, codes, strict=True):
        socket = Socket()
        for step in path:
            socket.step(step)
        if socket.state is State.BROKEN:
            socket.error = E.WSAECONNRESET
        assert code_of(socket.require, call) == code, socket.state


def test_impossible_step_is_a_mistake():
    with pytest.raises(KeyError):
        Socket().step(Step.LISTEN)


def test_descriptors_are_never_used_again():
    table = SocketTable()
    seen = set()
    for _ in range(1000):
        s = table.add(Socket())
        assert s not in seen
        assert s != -1
        seen.add(s)
        table.take(s, "WSPCloseSocket")
    assert len(table) == 0


@pytest.mark.parametrize("s", [-1, 0, 0xFFFFFFFF, 2**64 - 1, None, "1", [], 1.5])
def test_what_is_no_descriptor_is_refused(s):
    with pytest.raises(WSAError) as caught:
        SocketTable().get(s, "WSPSend")
    assert caught.value.winerror == E.WSAENOTSOCK


def test_of_many_closers_one_gets_the_socket():
    table = SocketTable()
    s = table.add(Socket())
    got = []

    def close():
        try:
            got.append(table.take(s, "WSPCloseSocket"))
        except WSAError:
            pass

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_upcalls_posted_from_inside_come_after():
    upcalls, told = Upcalls(), []

    def first():
        upcalls.post(told.append, "second")
        upcalls.run()  # as when a socket is closed in its own upcall
        told.append("first")

    upcalls.post(first)
    upcalls.run()
    assert told == ["first", "second"]
    assert not upcalls


def test_upcalls_run_one_at_a_time_and_in_order():
    upcalls, told, inside = Upcalls(), [], []

    def upcall(n):
        inside.append(n)
        assert len(inside) == 1
        told.append(n)
        inside.pop()

    def post_and_run(base):
        for i in range(200):
            upcalls.post(upcall, (base, i))
            upcalls.run()

    threads = [threading.Thread(target=post_and_run, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    upcalls.run()
    assert len(told) == 800
    for base in range(4):
        assert [i for b, i in told if b == base] == list(range(200))


def test_failing_upcall_does_not_stop_the_next(capfd):
    upcalls, told = Upcalls(), []
    upcalls.post(lambda: 1 / 0)
    upcalls.post(told.append, 1)
    upcalls.run()
    assert told == [1]
    assert "ZeroDivisionError" in capfd.readouterr().err
