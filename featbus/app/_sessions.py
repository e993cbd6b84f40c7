"""Sessions whose connection is lost, and which may come back."""

import asyncio
import gc

from streamlit.runtime.session_manager import SessionStorage


class Sessions(SessionStorage):
    """Sessions that are dropped, with their uploads, when their time is over.

    Streamlit's own storage does so when the next reader comes, which may be tomorrow.

    Parameters
    ----------
    ttl_seconds : float
        How long a session waits for its reader to come back, in seconds.
    """

    def __init__(self, ttl_seconds):
        self._seconds = ttl_seconds
        self._waiting = {}

    def get(self, session_id):
        """Return a session, or None if it is not there."""
        info, _ = self._waiting.get(session_id, (None, None))
        return info

    def save(self, session_info):
        """Keep a session for a while."""
        name = session_info.session.id
        loop = asyncio.get_running_loop()
        self._waiting[name] = session_info, loop.call_later(self._seconds, self._drop, name)

    def delete(self, session_id):
        """Forget a session, which goes on."""
        _, timer = self._waiting.pop(session_id)
        timer.cancel()

    def list(self):
        """Return all sessions."""
        return [info for info, _ in self._waiting.values()]

    def _drop(self, session_id):
        session = self._waiting.pop(session_id)[0].session
        session.shutdown()  # removes its uploads
        session.session_state.clear()  # the server holds the last session until another one comes
        session.flush_browser_queue()
        gc.collect()
