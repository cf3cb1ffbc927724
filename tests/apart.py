"""Running what could end the process in a forked one."""

import os
import traceback

import pytest

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def apart(run):
    """Run in a forked process; AssertionError if it fails there, or ends by a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the forked process ended with status {status}"
