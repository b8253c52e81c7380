"""ServiceProvider: the right functions, all documented, and what the base answers."""

import inspect
import re
from typing import Any

import pytest

from wsdirect.spi import extension_ids, layout
from wsdirect.spi.constants import SIO_GET_EXTENSION_FUNCTION_POINTER
from wsdirect.spi.errors import WSAError
from wsdirect.spi.extensions import ExtensionFunctions
from wsdirect.spi.guid import GUID
from wsdirect.spi.native import NativeStream, native_stream_of
from wsdirect.spi.provider import ServiceProvider

EXTENSIONS = [name for name in extension_ids.EXTENSION_FUNCTIONS.values() if name.startswith("WSP")]
FUNCTIONS = [*layout.REQUIRED_PROCEDURES, "WSPStartupEx", *EXTENSIONS]


def _nothing(self: ServiceProvider, *arguments: object, **more: object) -> Any:
    raise NotImplementedError


def _ioctl(self: ServiceProvider, s: int, code: int, in_buffer: Any = b"") -> Any:
    assert code == SIO_GET_EXTENSION_FUNCTION_POINTER
    return self.extension_function(in_buffer)


def make(**members: Any) -> ServiceProvider:
    """A provider whose functions do nothing but those given."""
    body = dict.fromkeys(ServiceProvider.__abstractmethods__, _nothing)
    body |= {"name": "nothing", "WSPIoctl": _ioctl} | members
    provider: ServiceProvider = type("Nothing", (ServiceProvider,), body)()
    return provider


def test_exactly_the_functions_of_the_contract() -> None:
    found = {name for name in dir(ServiceProvider) if name.startswith("WSP")}
    assert found == {*FUNCTIONS, *layout.PROC_TABLE}
    assert len(found) == 30 + 1 + 7


@pytest.mark.parametrize("name", sorted({*layout.PROC_TABLE} - {*layout.REQUIRED_PROCEDURES}))
def test_functions_that_the_switch_never_calls_fail_cleanly(name: str) -> None:
    function = getattr(make(), name)
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    with pytest.raises(WSAError, match=name) as caught:
        function(*[0] * len(required))
    assert caught.value.name == "WSAEOPNOTSUPP"


def test_the_required_ones_are_abstract() -> None:
    # All but WSPGetQOSByName, which most providers can only refuse.
    expected = {*layout.REQUIRED_PROCEDURES, "WSPStartupEx"} - {"WSPGetQOSByName"}
    assert ServiceProvider.__abstractmethods__ == expected
    with pytest.raises(TypeError, match="abstract"):
        ServiceProvider()  # type: ignore[abstract]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_documented(name: str) -> None:
    text = inspect.getdoc(getattr(ServiceProvider, name))
    assert text is not None
    assert "Errors:" in text
    assert re.search(r"^Source: R:ff\d{6}", text, re.MULTILINE)
    parameters = list(inspect.signature(getattr(ServiceProvider, name)).parameters)[1:]
    for parameter in parameters:
        assert re.search(rf"^    {parameter}: ", text, re.MULTILINE), parameter


@pytest.mark.parametrize("name", layout.REQUIRED_PROCEDURES)
def test_documented_from_the_page_in_the_table(name: str) -> None:
    spec = pytest.importorskip("tools_dev.generate_spi")
    tables = {
        entry["name"]: entry for entry in spec.load(spec.ROOT / "spec", "tables", "procedure")
    }
    assert f"Source: {tables[name]['source']}" in inspect.getdoc(getattr(ServiceProvider, name))


@pytest.mark.parametrize("name", [*EXTENSIONS, "WSPGetQOSByName"])
def test_optional_functions_are_not_supported_by_the_base(name: str) -> None:
    function = getattr(make(), name)
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]
    with pytest.raises(WSAError) as caught:
        function(*[None] * len(required))
    assert (caught.value.name, caught.value.operation) == ("WSAEOPNOTSUPP", name)


def test_extension_function_finds_what_is_overridden() -> None:
    def read(self: ServiceProvider) -> str:
        return "read"

    provider = make(WSPRdmaRead=read)
    ioctl = provider.WSPIoctl
    found = ioctl(-1, SIO_GET_EXTENSION_FUNCTION_POINTER, extension_ids.WSAID_RDMAREAD)
    assert found() == "read"
    for guid in extension_ids.EXTENSION_FUNCTIONS:
        if guid != extension_ids.WSAID_RDMAREAD:
            with pytest.raises(WSAError) as caught:
                provider.extension_function(guid)
            assert caught.value.name == "WSAEOPNOTSUPP"
    with pytest.raises(WSAError):
        provider.extension_function(GUID(bytes_le=bytes(16)))


def test_native_stream() -> None:
    class Stream:
        def stream(self, s: int) -> Any:
            return s

        def accept_fileno(self, s: int) -> int:
            return s

    stream: NativeStream = Stream()
    assert native_stream_of(make()) is None
    assert native_stream_of(make(native_stream=stream)) is stream
    assert native_stream_of(make(native_stream=property(lambda self: stream))) is stream
    provider = make()
    provider.native_stream = stream
    assert native_stream_of(provider) is stream


def test_native_stream_of_a_failing_provider() -> None:
    def down(self: ServiceProvider, *arguments: object) -> Any:
        raise WSAError(10050)

    def unheard_of(self: ServiceProvider, *arguments: object) -> Any:
        raise WSAError(10022)

    assert native_stream_of(make(WSPIoctl=unheard_of)) is None
    with pytest.raises(WSAError):
        native_stream_of(make(WSPIoctl=down))


def test_protocol_info() -> None:
    provider = make(provider_id=extension_ids.WSAID_RDMAREAD)
    assert provider.protocol_info.szProtocol == "nothing"
    assert provider.protocol_info.ProviderId == extension_ids.WSAID_RDMAREAD


def test_extension_functions_are_those_of_the_guids() -> None:
    for name in extension_ids.EXTENSION_FUNCTIONS.values():
        assert hasattr(ExtensionFunctions, name)
