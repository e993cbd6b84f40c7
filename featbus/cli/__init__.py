"""Command line: parses arguments; each command calls one public function or method."""

import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager

from featbus.cli._parser import make_parser
from featbus.wording import flags_in_messages

__all__ = ["main"]


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status:

        - 0: all is done, and all is well.
        - 1: done, but not all is well. `extract` or `predict` found images without a result, which
          the table lists with the reason; `audit` found a leak, `verify` missed a value, or a file
          in a weights bundle is damaged.
        - 2: an error that the user can fix, in one line on the standard error stream; files are as
          they were before, except feature stores.
        - 130: interrupted by Ctrl-C. Rows of features that are in a store stay there.
        - 141: whoever reads the output has closed it. Files that were written stay.
        - 143: stopped by the signal SIGTERM, in the same way as by Ctrl-C.

        Arguments that cannot be parsed (status 2), ``--help`` and ``--version`` (status 0) raise
        `SystemExit`, as always with `argparse`.
    """
    options = vars(make_parser().parse_args(argv))
    command, parser = options.pop("command"), options.pop("parser")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be Unicode
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings(), _stop_on_sigterm(), flags_in_messages(_flags(parser)):
        warnings.showwarning = _show_warning
        try:
            status = command(options) or 0
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # Python would write the rest at its end, and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (ValueError, OSError, ImportError) as error:
            print(f"featbus: error: {_one_line(error)}", file=sys.stderr)
            return 2
        except _Stopped:
            print("featbus: stopped", file=sys.stderr)
            return 143
        except KeyboardInterrupt:
            print("featbus: interrupted", file=sys.stderr)
            return 130


def _flags(parser):
    """Return the flags of a command."""
    return {flag for action in parser._actions for flag in action.option_strings}


class _Stopped(KeyboardInterrupt):
    """SIGTERM, which would otherwise end the process without removing temporary files."""


@contextmanager
def _stop_on_sigterm():
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        raise _Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"featbus: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(message):
    return " ".join(str(message).split())
