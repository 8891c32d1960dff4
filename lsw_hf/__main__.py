"""`python -m lsw_hf` is the same as the console script `lsw-hf`."""

import sys

from lsw_hf.cli import main

if __name__ == "__main__":
    sys.exit(main())
