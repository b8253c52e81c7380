"""`python -m wsdirect.testing`."""

from __future__ import annotations

import sys

from wsdirect.testing.cli import main

if __name__ == "__main__":
    sys.exit(main())
