"""`python -m armonika`: the command `armonika`, where it is not on the PATH."""

from __future__ import annotations

import sys

from armonika.doors.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
