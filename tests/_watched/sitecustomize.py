"""Python imports this module at its start: writes down every file that a process opens to write.

Files that are removed again, or never had a name, are in no listing of a folder.
"""

import os
import sys

_LOG = os.open(os.environ["FEATBUS_OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _log_writes(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes | os.PathLike) and flags & _WRITES:
            os.write(_LOG, os.path.abspath(os.fsencode(path)) + b"\n")


sys.addaudithook(_log_writes)
