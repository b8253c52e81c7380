"""What the programs share: reproducible bytes, their digest, and the end of a client."""

import hashlib
import json
import random
import sys

MB = 1 << 20


def blob(size, seed=1):
    """Reproducible bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def same(got, wanted):
    """Stop unless the bytes that came are those that were to come."""
    if digest(got) != digest(wanted):
        raise SystemExit(f"{len(got)} bytes came, not the {len(wanted)} that were to come")


def finish(**results):
    """Say what was found; stay, with all connections open, until somebody closes stdin."""
    print(json.dumps(results, sort_keys=True))
    print("done", flush=True)
    sys.stdin.read()
