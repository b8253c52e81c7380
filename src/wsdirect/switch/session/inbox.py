"""What has arrived in a session and was not read yet, with the place of the urgent byte in it.

One byte is urgent at a time, the latest, as in TCP: the one under an earlier mark is ordinary
again.  Reading stops at the mark.  Unless urgent bytes are `inline`, they are read apart, and the
read that goes past the mark leaves the byte out.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

__all__ = ["COPY", "LARGE", "Inbox"]

LARGE: Final = -1
"""In place of a buffer's number: the piece lies in the memory of large transfers."""
COPY: Final = -2
"""The piece lies in memory of its own."""
_MARK: Final = -3


class _Piece:
    __slots__ = ("index", "view")

    def __init__(self, view: memoryview, index: int) -> None:
        self.view = view
        self.index = index


class Inbox:
    """The pieces, in order.

    Args:
        free: Called with the number of each buffer that was read to its end.

    Attributes:
        inline: SO_OOBINLINE.
        urgent: The urgent byte that was not read apart yet; empty if there is none.
    """

    __slots__ = ("_free", "_pieces", "inline", "urgent")

    def __init__(self, free: Callable[[int], object]) -> None:
        self._free = free
        self._pieces: deque[_Piece] = deque()
        self.inline = False
        self.urgent = b""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, view: memoryview, index: int) -> None:
        """Bytes have arrived in the buffer of this number."""
        if view.nbytes:
            self._pieces.append(_Piece(view, index))

    def add_urgent(self, byte: bytes) -> None:
        """The urgent byte has arrived."""
        for piece in self._pieces:
            if piece.index == _MARK:
                piece.index = COPY
        self.urgent = byte
        self._pieces.append(_Piece(memoryview(byte), _MARK))

    @property
    def at_mark(self) -> bool:
        """Whether the next byte is the urgent one, read apart or not."""
        try:
            return self._pieces[0].index == _MARK
        except IndexError:
            return False

    @property
    def readable(self) -> bool:
        """Whether `read` has something."""
        return any(piece.index != _MARK or self.inline for piece in list(self._pieces))

    @property
    def available(self) -> int:
        """Bytes in front of the mark, or all."""
        total = 0
        for piece in list(self._pieces):
            if piece.index == _MARK:
                break
            total += piece.view.nbytes
        return total

    def peek(self) -> tuple[memoryview, bool] | None:
        """The first bytes, and whether that is the urgent one; None if there are none."""
        try:
            piece = self._pieces[0]
        except IndexError:
            return None
        return piece.view, piece.index == _MARK

    def consume(self, count: int) -> None:
        """So many bytes of `peek` were taken."""
        piece = self._pieces[0]
        if count < piece.view.nbytes:
            piece.view = piece.view[count:]
            return
        self._pieces.popleft()
        if piece.index != COPY and piece.index != _MARK:
            self._free(piece.index)

    def read(self, target: memoryview) -> int:
        """Read up to the mark; the count of bytes."""
        done = 0
        if not self.inline and target.nbytes and self.at_mark:
            self._pieces.popleft()
            self.urgent = b""
        while done < target.nbytes and self._pieces:
            if self.at_mark and (done or not self.inline):
                break
            view = self._pieces[0].view
            count = min(view.nbytes, target.nbytes - done)
            target[done : done + count] = view[:count]
            done += count
            self.consume(count)
        return done

    def discard(self) -> None:
        """Throw everything away; the buffers are free."""
        while self._pieces:
            self.consume(self._pieces[0].view.nbytes)

    def copy(self) -> tuple[bytes, int]:
        """All bytes, and where the urgent one stands in them (-1: nowhere)."""
        mark, data = -1, bytearray()
        for piece in self._pieces:
            if piece.index == _MARK:
                mark = len(data)
            data += piece.view
        return bytes(data), mark

    def restore(self, data: bytes, mark: int, urgent: bytes) -> None:
        """What `copy` gave, and the urgent byte if it was not read apart."""
        view = memoryview(data)
        if mark < 0:
            self.add(view, COPY)
        else:
            self.add(view[:mark], COPY)
            self.add_urgent(data[mark : mark + 1])
            self.add(view[mark + 1 :], COPY)
        self.urgent = urgent
