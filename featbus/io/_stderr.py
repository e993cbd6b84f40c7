"""Hear whether C libraries write to standard error while they decode, and keep it from the user.

libjpeg and libpng report damage that they read over only there, and neither OpenCV nor the
libraries offer another way. Python, and what writes to the file descriptor, are not affected.
"""

import ctypes
import os
import platform
import threading


class _Listener:
    """The variable `stderr` of the C library is a file in memory while any thread decodes.

    The manual of the GNU C library says that it may be set; with other C libraries, nothing is
    heard. The file stays open, because a thread may still be about to write.
    """

    def __init__(self):
        self._gate = threading.Lock()  # held by a thread that decodes alone
        self._idle = threading.Condition()
        self._decoding = 0
        self._stream = self._original = self._file = self._heard = None

    def __call__(self, function, *args):
        """Call a function; return its result, and whether it wrote to standard error."""
        with self._gate:
            self._enter()
        result, wrote = self._listen(function, args)
        if not wrote:
            return result, False
        with self._gate:  # it may have been another thread
            with self._idle:
                self._idle.wait_for(lambda: not self._decoding)
            self._enter()
            return self._listen(function, args)

    def _listen(self, function, args):
        try:
            before = self._count_bytes()
            result = function(*args)
            return result, self._count_bytes() > before
        finally:
            self._leave()

    def _count_bytes(self):
        return os.fstat(self._file).st_size if self._heard else 0

    def _enter(self):
        with self._idle:
            if self._heard is None:
                self._open()
            if self._heard and not self._decoding:
                self._original = self._stream.value
                self._stream.value = self._heard
            self._decoding += 1

    def _leave(self):
        with self._idle:
            self._decoding -= 1
            if self._heard and not self._decoding:
                self._stream.value = self._original
                os.ftruncate(self._file, 0)
            self._idle.notify_all()

    def _open(self):
        self._heard = 0
        if platform.libc_ver()[0] != "glibc":
            return
        library = ctypes.CDLL(None)
        library.fdopen.restype = ctypes.c_void_p
        library.setvbuf.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        try:
            self._file = os.memfd_create("stderr")
        except OSError:
            return
        self._stream = ctypes.c_void_p.in_dll(library, "stderr")
        self._heard = library.fdopen(self._file, b"a") or 0
        unbuffered = 2  # _IONBF
        library.setvbuf(self._heard, None, unbuffered, 0)

    def _begin_again(self):
        """Forget the threads of the parent, which a forked child does not have."""
        if self._heard and self._decoding:
            self._stream.value = self._original
        self.__init__()


listen = _Listener()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=listen._begin_again)
