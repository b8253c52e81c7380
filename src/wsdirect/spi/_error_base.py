"""WSAError, the base of the generated exception classes.

Public as `wsdirect.spi.errors.WSAError`: only that module has loaded the subclasses as well.
"""

from __future__ import annotations

import errno

from wsdirect.spi.errors_table import ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self

__all__ = ["WSAError"]


class WSAError(OSError):
    """A Winsock error: `WSAError(10061)`, or `WSAECONNREFUSED()` by name.

    `WSAError(code)` gives an instance of the class of that code, which also derives from the
    built-in exception that Python uses for the corresponding errno.  So both of these catch it:

        except ConnectionRefusedError: ...
        except WSAECONNREFUSED: ...

    Args:
        code: The Winsock error number.  May be left out for the class of one code.
        operation: What was being done, usually the name of the function: it begins the message.
        hint: One more sentence for the reader, such as what to try: it ends the message.

    Attributes:
        winerror: The Winsock number, e.g. 10061; a plain int.
        name: The Winsock name, e.g. `"WSAECONNREFUSED"`.
        errno: The POSIX number, e.g. `errno.ECONNREFUSED`.
        strerror: One sentence that ends with name and number.
        operation: As given.
        hint: As given.
        required: Where a buffer for a result was too small (WSAEFAULT): how many bytes it needs.
            None otherwise.
    """

    _types: ClassVar[dict[int, type[WSAError]]] = {}
    _code: ClassVar[int | None] = None

    winerror: int
    name: str
    operation: str | None
    hint: str | None
    required: int | None

    def __init_subclass__(cls, *, code: int | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls._code = code
            cls._types[code] = cls

    # All the work is in __new__: a class with its own __init__ would make OSError parse its
    # arguments there, after it is decided which subclass the object belongs to.
    def __new__(
        cls, code: int | None = None, operation: str | None = None, hint: str | None = None
    ) -> Self:
        if code is None:
            code = cls._code
            if code is None:
                raise TypeError("WSAError needs a Winsock error code")
        elif cls._code is not None and code != cls._code:
            raise ValueError(f"{cls.__name__} is {cls._code}, not {code}")
        code = int(code)
        name, posix, sentence = ERRORS.get(code, ("unknown", errno.EIO, "Unknown Winsock error."))
        kind = cls._types.get(code, cls) if cls is WSAError else cls
        self = super().__new__(kind, posix, f"{sentence[:-1]} ({name}, {code}).")
        self.winerror = code
        self.name = name
        self.operation = operation
        self.hint = hint
        self.required = None
        return self  # type: ignore[return-value]  # kind is cls or, for WSAError itself, below it

    @classmethod
    def too_small(cls, operation: str, required: int) -> WSAError:
        """WSAEFAULT for a result that needs `required` bytes, more than its buffer has."""
        error = cls(10014, operation, f"The buffer is too small: {required} bytes are needed.")
        error.required = required
        return error

    @classmethod
    def of(cls, code: int, operation: str | None = None, hint: str | None = None) -> WSAError:
        """The same as calling the class; reads better where an error is made to be returned."""
        return cls(code, operation, hint)

    def __str__(self) -> str:
        message = f"{self.operation}: {self.strerror}" if self.operation else str(self.strerror)
        return f"{message} {self.hint}" if self.hint else message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # The rest of __dict__ (notes, a user's own attributes) travels as state.
        return type(self), (self.winerror, self.operation, self.hint), self.__dict__
