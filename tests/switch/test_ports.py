"""Ephemeral ports: as unique per peer as TCP's, and given back."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from wsdirect.switch.ports import POOLED, PortPool

HOST = "127.0.0.1"
PEER = (HOST, 7)


@pytest.fixture
def pool():
    made = PortPool()
    yield made
    made.forget()


def test_same_peer_never_sees_a_port_twice(pool):
    leases = [pool.lease(HOST, PEER) for _ in range(POOLED + 50)]
    assert len({lease.port for lease in leases}) == len(leases)


def test_threads_do_not_share_a_port(pool):
    leases = []

    def take():
        leases.extend(pool.lease(HOST, PEER) for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({lease.port for lease in leases}) == len(leases) == 800


def test_another_peer_may_see_the_same_port(pool):
    first = {pool.lease(HOST, PEER).port for _ in range(POOLED)}
    second = {pool.lease(HOST, (HOST, 8)).port for _ in range(POOLED)}
    assert first == second


def test_released_ports_are_used_again(pool):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10 * POOLED):
        pool.release(pool.lease(HOST, PEER))
    assert len(os.listdir("/proc/self/fd")) <= before + POOLED


def test_a_port_in_the_pool_is_reserved(pool):
    lease = pool.lease(HOST, PEER)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, lease.port))


def test_withdrawn_port_belongs_to_the_caller(pool):
    lease = pool.lease(HOST, PEER)
    fd = pool.withdraw(lease)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd) as own:
        assert own.getsockname() == (HOST, lease.port)
        assert lease.port not in {pool.lease(HOST, PEER).port for _ in range(2 * POOLED)}


def test_withdrawn_while_another_connection_uses_the_port(pool):
    one, other = pool.lease(HOST, PEER), pool.lease(HOST, (HOST, 8))
    assert one.port == other.port
    assert pool.withdraw(one) == -1
