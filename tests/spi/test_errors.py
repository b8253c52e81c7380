"""WSAError: which built-in exceptions it is, what it says, and the way from POSIX errors."""

import copy
import errno
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect.spi import errors
from wsdirect.spi.errors import (
    ERRORS,
    WSAECONNREFUSED,
    WSAENOBUFS,
    WSAError,
    WsaErrorCode,
    from_errno,
    from_oserror,
)

all_codes = st.sampled_from(sorted(ERRORS))


@pytest.mark.parametrize(
    ("name", "posix", "builtin"),
    [
        ("WSAECONNREFUSED", errno.ECONNREFUSED, ConnectionRefusedError),
        ("WSAECONNRESET", errno.ECONNRESET, ConnectionResetError),
        ("WSAECONNABORTED", errno.ECONNABORTED, ConnectionAbortedError),
        ("WSAEWOULDBLOCK", errno.EAGAIN, BlockingIOError),
        ("WSAEALREADY", errno.EALREADY, BlockingIOError),
        ("WSA_IO_PENDING", errno.EINPROGRESS, BlockingIOError),
        ("WSAETIMEDOUT", errno.ETIMEDOUT, TimeoutError),
        ("WSAEINTR", errno.EINTR, InterruptedError),
        ("WSAEACCES", errno.EACCES, PermissionError),
        ("WSAESHUTDOWN", errno.EPIPE, BrokenPipeError),
        ("WSAENOTCONN", errno.ENOTCONN, OSError),
    ],
)
def test_caught_as_the_builtin_exception(name: str, posix: int, builtin: type) -> None:
    with pytest.raises(builtin) as caught:
        raise WSAError(WsaErrorCode[name])
    assert isinstance(caught.value, WSAError)
    assert caught.value.errno == posix
    assert caught.value.name == name


def test_not_caught_as_another_one() -> None:
    assert not isinstance(WSAError(WsaErrorCode.WSAECONNREFUSED), ConnectionResetError)
    assert not isinstance(WSAError(WsaErrorCode.WSAENOTCONN), ConnectionError)


@given(all_codes)
def test_base_class_is_what_python_chooses_for_the_errno(code: int) -> None:
    error = WSAError(code)
    python = type(OSError(error.errno, ""))
    assert isinstance(error, python)
    assert type(error).__name__ == error.name == WsaErrorCode(code).name


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("WSA_INVALID_HANDLE", 6),
        ("WSA_OPERATION_ABORTED", 995),
        ("WSA_IO_INCOMPLETE", 996),
        ("WSA_IO_PENDING", 997),
        ("WSAEINTR", 10004),
        ("WSAEFAULT", 10014),
        ("WSAEINVAL", 10022),
        ("WSAEWOULDBLOCK", 10035),
        ("WSAENOTSOCK", 10038),
        ("WSAEOPNOTSUPP", 10045),
        ("WSAENETDOWN", 10050),
        ("WSAECONNRESET", 10054),
        ("WSAENOBUFS", 10055),
        ("WSAETIMEDOUT", 10060),
        ("WSAEHOSTUNREACH", 10065),
        ("WSAEPROCLIM", 10067),
        ("WSANOTINITIALISED", 10093),
        ("WSAEDISCON", 10101),
        ("WSATRY_AGAIN", 11002),
    ],
)
def test_winsock_number(name: str, code: int) -> None:
    assert WsaErrorCode[name] == code
    assert getattr(errors, name)().winerror == code


def test_message() -> None:
    error = WSAError(10061, "WSPConnect", "Is the server up?")
    assert str(error) == (
        "WSPConnect: The peer refused the connection (WSAECONNREFUSED, 10061). Is the server up?"
    )
    assert error.args == (errno.ECONNREFUSED, error.strerror)
    assert str(WSAError(10061)) == "The peer refused the connection (WSAECONNREFUSED, 10061)."


@given(all_codes)
def test_every_message_is_one_sentence_with_name_and_number(code: int) -> None:
    message = str(WSAError(code))
    assert message.endswith(f" ({WsaErrorCode(code).name}, {code}).")
    assert message[0].isupper()
    assert message.count(".") == 1


@given(all_codes, st.none() | st.text(), st.none() | st.text(), st.integers(2, 5))
def test_pickle(code: int, operation: str | None, hint: str | None, protocol: int) -> None:
    error = WSAError(code, operation, hint)
    error.add_note("seen by the test")
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert (again.winerror, again.errno, again.name) == (code, error.errno, error.name)
        assert (again.operation, again.hint) == (operation, hint)
        assert again.__notes__ == ["seen by the test"]


def test_class_of_one_code() -> None:
    assert WSAECONNREFUSED().winerror == 10061
    assert WSAECONNREFUSED(operation="WSPAccept").operation == "WSPAccept"
    assert type(WSAError.of(10055, "WSPSocket")) is WSAENOBUFS
    with pytest.raises(ValueError, match="10061"):
        WSAECONNREFUSED(10055)
    with pytest.raises(TypeError):
        WSAError()


def test_unknown_code_keeps_its_number() -> None:
    error = WSAError(12345)
    assert type(error) is WSAError
    assert (error.winerror, error.errno) == (12345, errno.EIO)
    assert "12345" in str(error)
    assert pickle.loads(pickle.dumps(error)).winerror == 12345


def test_winerror_is_a_plain_int() -> None:
    assert type(WSAError(WsaErrorCode.WSAEINVAL).winerror) is int


@given(all_codes)
def test_there_and_back(code: int) -> None:
    """Through POSIX and back, an error is still caught by the same except clauses."""
    error = WSAError(code)
    again = from_errno(error.errno)
    assert again.errno == error.errno or errno.errorcode[error.errno] in (
        # POSIX names that stand for several Winsock codes, none of them this one on the way back
        *("EINPROGRESS", "EBADF", "ENXIO", "ENOEXEC", "ENODEV"),
    )
    assert isinstance(again, type(OSError(error.errno, "")))


def test_connect_under_way_is_wouldblock() -> None:
    assert from_errno(errno.EINPROGRESS).name == "WSAEWOULDBLOCK"
    assert from_errno(errno.EBADF).name == "WSAENOTSOCK"


def test_unknown_errno_is_named() -> None:
    error = from_errno(errno.ENOENT, "WSPBind", "Look again.")
    assert error.name == "WSASYSCALLFAILURE"
    assert "ENOENT" in str(error)
    assert str(error).endswith("Look again.")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.ECONNRESET, "x"), "WSAECONNRESET"),
        (TimeoutError("timed out"), "WSAETIMEDOUT"),
        (BlockingIOError(), "WSAEWOULDBLOCK"),
        (BrokenPipeError(), "WSAESHUTDOWN"),
        (OSError("no number"), "WSASYSCALLFAILURE"),
    ],
)
def test_from_oserror(error: OSError, name: str) -> None:
    assert from_oserror(error).name == name


def test_from_oserror_leaves_winsock_errors_alone() -> None:
    error = WSAError(10061)
    assert from_oserror(error, "something else") is error
