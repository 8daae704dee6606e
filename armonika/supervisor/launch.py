"""Starts one process as itself: limits, the user it runs as, no core dumps, and its end with the supervisor's end.

`python -m armonika.supervisor.launch MODULE [UID GID]` becomes MODULE in the same process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import runpy
import signal
import sys

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def tie() -> None:
    """Ends this process when its parent ends, and keeps its memory to itself. For the workers that a server process makes."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Where the limit allows all memory: keys are then never written to swap. Under a limit, later allocations would fail instead.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def confine(uid: int | None, gid: int | None) -> None:
    """Drops to `uid`/`gid`, forbids core dumps, tracing by others and new privileges, and ties this process's life to its parent's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    parent = os.getppid()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    tie()
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Entry point; see the module's text."""
    module, *ids = sys.argv[1:]
    uid, gid = (int(ids[0]), int(ids[1])) if ids else (None, None)
    confine(uid, gid)
    os.umask(0o027)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
