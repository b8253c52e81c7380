"""The fixture `switch` is the one of the event loops' tests."""

from tests.loops.conftest import switch

__all__ = ["switch"]
