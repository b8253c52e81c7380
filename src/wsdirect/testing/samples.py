"""Data that tell transfers apart."""

from __future__ import annotations

import random

__all__ = ["sample"]


def sample(number: int, length: int) -> bytes:
    """So many bytes, other ones for each number."""
    return random.Random(number).randbytes(length)
