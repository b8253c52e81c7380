"""`python -m wsdirect`: the same as the command `wsdirect`."""

import sys

from wsdirect.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
