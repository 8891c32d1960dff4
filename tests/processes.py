"""A process that has ended, for tests of what killed ones leave behind."""

import subprocess
import sys


def dead_process() -> int:
    """Return the number of a process of this machine that no longer runs."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
