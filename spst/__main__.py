"""`python -m spst`: see `spst.cli.main`."""

import sys

from spst.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
