"""The conformance suite: every rule of the contract that a program can check."""
