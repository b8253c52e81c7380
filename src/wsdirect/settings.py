"""Every setting of wsdirect: its name in the environment, what it may be, and what it does.

The settings are read from `WSDIRECT_*` variables, so that a program's children have them too.
A name that does not exist or a value that does not fit is a mistake worth stopping for: it raises
`SettingError`, whose text is one sentence that names the variable and says what would be valid.

This module is imported into users' processes: it needs `os` and nothing else.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = [
    "ALL",
    "Exclusion",
    "Setting",
    "SettingError",
    "Settings",
    "current",
    "forget",
    "load",
]

PREFIX = "WSDIRECT"
SESSION_WAYS = ("auto", "always")
RDMA_WAYS = ("auto", "shared", "direct", "owner")
LOG_LEVELS = ("off", "error", "info", "debug")
TRUE_WORDS = ("1", "on", "true", "yes")
FALSE_WORDS = ("0", "off", "false", "no")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class SettingError(ValueError):
    """A setting that does not exist or has a value that does not fit; the text is one sentence.

    `name` is the environment variable it is about.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Exclusion:
    """Addresses that stay on TCP: a host, a port, or both; `*` in the host stands for anything."""

    __slots__ = ("host", "port")

    def __init__(self, host: str | None, port: int | None) -> None:
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"Exclusion({self.host!r}, {self.port!r})"

    def __str__(self) -> str:
        host = self.host or ""
        if self.port is None:
            return host
        if not host:
            return str(self.port)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exclusion):
            return NotImplemented
        return (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))

    def matches(self, host: str, port: int) -> bool:
        """Whether the address (a name or an IP address as text, and a port) is excluded.

        Hosts are compared as text; `localhost` also stands for 127.0.0.1 and ::1.
        """
        if self.port is not None and self.port != port:
            return False
        if self.host is None:
            return True
        host = host.lower()
        if self.host == "localhost" and host in LOCAL_HOSTS:
            return True
        return _like(self.host, host)


def _like(pattern: str, text: str) -> bool:
    """Shell-like matching with `*` only; fnmatch would import `re` into users' processes."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    if not text.startswith(first):
        return False
    position = len(first)
    for part in rest[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(text) - position >= len(rest[-1]) and text.endswith(rest[-1])


# Parsers: text -> value, or ValueError (without text) when it does not fit.


def _switch(text: str) -> bool:
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = _whole(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def _spin(text: str) -> int | None:
    return None if text.lower() == "auto" else _between(0, 10_000)(text)


def _ring(text: str) -> int:
    unit = {"k": 1 << 10, "m": 1 << 20}.get(text[-1:].lower(), 1)
    size = _whole(text if unit == 1 else text[:-1]) * unit
    if not 4096 <= size <= 16 << 20 or size & (size - 1):
        raise ValueError
    return size


def _ring_max(text: str) -> int | None:
    return None if text.lower() == "auto" else 0 if text == "0" else _ring(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds <= 3600:  # also False for nan
        raise ValueError
    return seconds


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _uids(text: str) -> frozenset[int]:
    uids = [_whole(item) for item in _items(text)]
    if any(uid >= 0xFFFFFFFF for uid in uids):
        raise ValueError
    return frozenset(uids)


def _port(text: str) -> int:
    return _between(1, 65535)(text)


def _exclusion(text: str) -> Exclusion:
    if text.isdigit():
        return Exclusion(None, _port(text))
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not host or (port and not port.startswith(":")):
            raise ValueError
        return Exclusion(host.lower(), _port(port[1:]) if port else None)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return Exclusion(host.lower() if host not in ("", "*") else None, _port(port))
    if any(character.isspace() or character in "/[]" for character in text):
        raise ValueError
    return Exclusion(text.lower(), None)


def _exclusions(text: str) -> tuple[Exclusion, ...]:
    return tuple(_exclusion(item) for item in _items(text))


def _log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError
    return text.lower()


def _session_way(text: str) -> str:
    if text.lower() not in SESSION_WAYS:
        raise ValueError
    return text.lower()


def _rdma_way(text: str) -> str:
    if text.lower() not in RDMA_WAYS:
        raise ValueError
    return text.lower()


def _providers(text: str) -> tuple[str, ...]:
    names = _items(text)
    if not names or any(not name.replace("-", "_").isidentifier() for name in names):
        raise ValueError
    return tuple(names)


class Setting:
    """One setting: `name` in the environment, `attribute` of `Settings`, default, doc.

    `default` is text, as it would stand in the environment; `valid` completes the sentence
    "valid is ...".
    """

    __slots__ = ("_parse", "attribute", "default", "doc", "name", "valid")

    def __init__(
        self,
        name: str,
        attribute: str,
        parse: Callable[[str], Any],
        default: str,
        valid: str,
        doc: str,
    ) -> None:
        self.name = name
        self.attribute = attribute
        self._parse = parse
        self.default = default
        self.valid = valid
        self.doc = doc

    def __repr__(self) -> str:
        return f"<Setting {self.name}>"

    def parse(self, text: str) -> Any:
        """The value that `text` stands for; SettingError when it does not fit."""
        try:
            return self._parse(text.strip())
        except ValueError:
            raise SettingError(
                self.name, f"{self.name} is {text!r}, which does not fit: valid is {self.valid}."
            ) from None

    def read(self, environ: Mapping[str, str]) -> tuple[Any, str, str]:
        """Value, its text, and where it is from: "environment" or "default".

        An empty variable counts as unset, as in a shell.
        """
        text = environ.get(self.name, "")
        if text.strip():
            return self.parse(text), text, "environment"
        return self._parse(self.default), self.default, "default"


BOOLEAN = "1 (on, true, yes) or 0 (off, false, no)"

# fmt: off
ALL: tuple[Setting, ...] = (
    Setting(
        "WSDIRECT", "switch", _switch, "0", BOOLEAN,
        "Whether programs started by the launcher switch; wsdirect run sets it.",
    ),
    Setting(
        "WSDIRECT_REQUIRE", "require", _switch, "0", BOOLEAN,
        "A connection that cannot be switched raises ConnectionError, which names the reason.",
    ),
    Setting(
        "WSDIRECT_SPIN_US", "spin_us", _spin, "auto", "auto or 0 to 10000 (microseconds)",
        "Longest busy wait in microseconds before a wait sleeps; auto measures, 0 never spins.",
    ),
    Setting(
        "WSDIRECT_CPU_BUDGET", "cpu_budget", _between(0, 100), "100", "0 to 100 (percent of a CPU)",
        "CPU that a process may spend on busy waits, on average; 0 never spins, 100 is unbounded.",
    ),
    Setting(
        "WSDIRECT_RING", "ring", _ring, "262144",
        "a power of two from 4096 (4K) to 16777216 (16M), in bytes",
        "Bytes that a connection can hold in each direction.",
    ),
    Setting(
        "WSDIRECT_RING_MAX", "ring_max", _ring_max, "auto",
        "auto, 0, or a power of two from 4096 (4K) to 16777216 (16M), in bytes",
        "What a direction that carries much grows to; auto is four times the ring, 0 is never.",
    ),
    Setting(
        "WSDIRECT_SLOTS", "slots", _between(1, 1024), "64", "1 to 1024",
        "Connections that share one segment of shared memory.",
    ),
    Setting(
        "WSDIRECT_OFFER_TIMEOUT", "offer_timeout", _seconds, "3", "0.01 to 3600 (seconds)",
        "Seconds that a peer has to accept a switched connection before it moves to TCP.",
    ),
    Setting(
        "WSDIRECT_ALLOW_UIDS", "allow_uids", _uids, "",
        "user numbers with commas between them, such as 1000,1001",
        "Users besides this one whose programs may be peers of switched connections.",
    ),
    Setting(
        "WSDIRECT_EXCLUDE", "exclude", _exclusions, "",
        "host:port, host or port, with commas between them, such as 5432,10.0.0.*,[::1]:80",
        "Addresses that stay on TCP; a * in a host stands for anything.",
    ),
    Setting(
        "WSDIRECT_STRICT", "strict", _switch, "0", BOOLEAN,
        "Descriptors always tell the truth to pollers outside Python, at 5-9 us a round trip.",
    ),
    Setting(
        "WSDIRECT_SESSION", "session", _session_way, "auto", "auto or always",
        "Session protocol for providers without byte streams (auto), or for all of them (always).",
    ),
    Setting(
        "WSDIRECT_RDMA", "rdma", _rdma_way, "auto", "auto, shared, direct or owner",
        "How RDMA in this host copies: by shared memory, process to process, or by its owner.",
    ),
    Setting(
        "WSDIRECT_LOG", "log", _log_level, "error", "off, error, info or debug",
        "What is told on standard error.",
    ),
    Setting(
        "WSDIRECT_PROVIDERS", "providers", _providers, "shm",
        "names of providers with commas between them, such as shm,fabric",
        "Providers to try, in this order.",
    ),
)
# fmt: on


class Settings:
    """The values of all settings, one attribute each; they cannot be set or deleted."""

    __slots__ = tuple(setting.attribute for setting in ALL)

    switch: bool
    require: bool
    spin_us: int | None
    cpu_budget: int
    ring: int
    ring_max: int | None
    slots: int
    offer_timeout: float
    allow_uids: frozenset[int]
    exclude: tuple[Exclusion, ...]
    strict: bool
    session: str
    rdma: str
    log: str
    providers: tuple[str, ...]

    def __init__(self, values: Mapping[str, Any]) -> None:
        for attribute in self.__slots__:
            object.__setattr__(self, attribute, values[attribute])

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError("settings cannot be changed; set the environment and load() again")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError("settings cannot be deleted")

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Settings({values})"

    def excluded(self, host: str, port: int) -> bool:
        """Whether WSDIRECT_EXCLUDE keeps this address on TCP."""
        return any(exclusion.matches(host, port) for exclusion in self.exclude)

    def logs(self, level: str) -> bool:
        """Whether messages of this level ("error", "info" or "debug") are told."""
        return 0 < LOG_LEVELS.index(level) <= LOG_LEVELS.index(self.log)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read all settings; SettingError for the first unknown name or bad value."""
    for name in environ:
        if name.startswith(PREFIX) and (name == PREFIX or name[len(PREFIX)] == "_"):
            _known(name)
    return Settings({setting.attribute: setting.read(environ)[0] for setting in ALL})


def _known(name: str) -> None:
    if any(setting.name == name for setting in ALL):
        return
    import difflib

    names = [setting.name for setting in ALL]
    near = difflib.get_close_matches(name, names, 1, 0.5)
    meant = f"did you mean {near[0]}" if near else f"valid are {', '.join(names)}"
    raise SettingError(name, f"{name} is not a setting of wsdirect: {meant}{'?' if near else '.'}")


_current: Settings | None = None


def current() -> Settings:
    """This process's settings, read from the environment at the first call."""
    global _current
    if _current is None:
        _current = load()
    return _current


def forget() -> None:
    """Let the next current() read the environment again (for tests and long-lived tools)."""
    global _current
    _current = None
