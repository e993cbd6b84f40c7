"""The page of a model in a process of its own, whose files and messages are watched."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from _traces import find_changes, find_secrets, find_secrets_in_files, take_snapshot

WATCHED = Path(__file__).parent / "_watched"
FOLDERS = ("working", "temp", "cache", "home")


class App(NamedTuple):
    """A running page."""

    url: str
    process: subprocess.Popen
    root: Path

    @property
    def folders(self):
        """Return the folders where a process may be expected to write."""
        return [self.root / name for name in FOLDERS]

    def observe(self):
        """Return what there is now: files, what was opened for writing, and messages."""
        opened = (self.root / "opened").read_text().splitlines()
        return take_snapshot(self.folders), opened, (self.root / "log").read_bytes()

    def find_traces(self, before, secrets):
        """Return what the process has written since an observation, and the secrets in it."""
        files, opened, log = self.observe()
        opened = [path for path in opened[len(before[1]) :] if "__pycache__" not in path]
        found = {
            "changed": find_changes(before[0], files),
            "opened": sorted({*opened} - {os.devnull}),
            "secrets in files": find_secrets_in_files(self.folders, secrets),
            "secrets in messages": find_secrets(log[len(before[2]) :], secrets),
        }
        return {what: traces for what, traces in found.items() if traces}


@contextmanager
def run_app(model, root, is_leaky=False):
    """Run ``featbus app``, or the page of ``leaky_app.py``, which keeps what is uploaded."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    program = [str(WATCHED / "leaky_app.py")] if is_leaky else ["-m", "featbus"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "app", str(model), f"--port={port}", "--browser=false"],
            cwd=root / "working",
            env=_make_environ(root),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/_stcore/health", process, root / "log")
        yield App(url, process, root)
    finally:
        process.kill()  # an image that is examined would be waited for
        process.wait()


def _make_environ(root):
    environ = os.environ | {
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "temp"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "FEATBUS_CACHE": str(root / "cache" / "featbus"),
        "FEATBUS_OPENED": str(root / "opened"),
        "PYTHONPATH": os.pathsep.join([str(WATCHED), os.environ.get("PYTHONPATH", "")]),
    }
    return environ


def _wait_for(url, process, log, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            return urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"The page did not start: {log.read_text()}")
