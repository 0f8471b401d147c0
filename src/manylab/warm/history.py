"""IPython's history of a warm kernel: its session begins without waiting for the disk."""

from __future__ import annotations

import _thread
import contextlib
import importlib
from collections.abc import Callable
from datetime import datetime
from typing import Any


def patch() -> None:
    """Call when IPython can be imported, before a kernel is made."""
    manager = importlib.import_module("IPython.core.history").HistoryManager
    manager.new_session = _later(manager.new_session)


def _later(usual: Callable[..., None]) -> Callable[..., None]:
    def new_session(self: Any, conn: Any = None) -> None:
        """Get a new session number, and go on while the database is committed: 10 to 30 ms on an ordinary disk.

        Whoever uses this connection meanwhile waits; another one, as that of the thread that saves, does as well.
        """
        conn = self.db if conn is None else conn
        one_thread = self.connection_options.get("check_same_thread", True)
        if not self.enabled or self.hist_file == ":memory:" or one_thread or conn.in_transaction:
            usual(self, conn)
            return
        text = 'INSERT INTO sessions VALUES (NULL, ?, NULL, NULL, "")'
        self.session_number = conn.execute(text, (datetime.now().isoformat(" "),)).lastrowid

        def commit() -> None:
            try:
                conn.commit()
            except Exception:  # the disk is full, say: the cells are saved without the beginning of the session
                with contextlib.suppress(Exception):
                    conn.rollback()

        # Not a thread that `threading` knows: it numbers them.
        _thread.start_new_thread(commit, ())

    return new_session
