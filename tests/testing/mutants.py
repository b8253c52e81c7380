"""All wrong providers."""

from __future__ import annotations

from tests.testing import mutants_connections, mutants_data, mutants_memory
from tests.testing.mutation import Mutant

__all__ = ["MUTANTS"]

MUTANTS: list[Mutant] = [
    *mutants_connections.MUTANTS,
    *mutants_data.MUTANTS,
    *mutants_memory.MUTANTS,
]
