"""Keep C libraries from writing to standard error while they decode.

libjpeg and libpng print what they think of a file, and neither OpenCV nor the libraries offer a way
to turn that off. Python, and what writes to the file descriptor, are not affected.
"""

import ctypes
import os
import platform
import threading
from contextlib import contextmanager


class _Muted:
    """The variable `stderr` of the C library points to the null device while any thread decodes.

    The manual of the GNU C library says that it may be set; with other C libraries, nothing is
    done. The null device stays open, because a thread may still be about to write.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._decoding = 0
        self._stream = None
        self._original = None
        self._null = None

    @contextmanager
    def __call__(self):
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self):
        with self._lock:
            if self._null is None:
                self._find()
            if self._null and not self._decoding:
                self._original = self._stream.value
                self._stream.value = self._null
            self._decoding += 1

    def _leave(self):
        with self._lock:
            self._decoding -= 1
            if self._null and not self._decoding:
                self._stream.value = self._original

    def _find(self):
        self._null = 0
        if platform.libc_ver()[0] == "glibc":
            library = ctypes.CDLL(None)
            library.fopen.restype = ctypes.c_void_p
            self._stream = ctypes.c_void_p.in_dll(library, "stderr")
            self._null = library.fopen(os.devnull.encode(), b"w") or 0


muted = _Muted()
