"""Asks the stages of this process to finish the loads in hand and to start no new ones (SIGINT and SIGTERM do)."""

from __future__ import annotations

import threading

requested = threading.Event()
