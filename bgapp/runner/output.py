"""What an attempt writes, on its way to its log: secrets cut out, and shown to whoever watches."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from bgapp.masking import MASK


class Sink(Protocol):
    """Takes an attempt's output."""

    def write(self, data: bytes) -> None:
        """Take some bytes, in order."""


class Output:
    """Cuts secrets out of a stream, also where they come in pieces, and hands it to the log and to a viewer."""

    def __init__(self, log: Sink, secrets: frozenset[str], viewer: BinaryIO | None = None) -> None:
        self._log = log
        self._viewer = viewer
        self.viewer_left = False
        # The longest first: a secret that contains another must go whole.
        self._secrets = sorted((text.encode() for text in secrets), key=len, reverse=True)
        self._held = b""

    def write(self, data: bytes) -> None:
        """Pass on `data`, but for a tail that may be the beginning of a secret."""
        if self._secrets:
            data = self._held + data
            for secret in self._secrets:
                data = data.replace(secret, MASK.encode())
            keep = self._possible_beginning(data)
            data, self._held = data[: len(data) - keep], data[len(data) - keep :]
        self._pass(data)

    def _possible_beginning(self, data: bytes) -> int:
        """Return how many last bytes of `data` could be the beginning of a secret."""
        longest = min(len(data), max(len(secret) for secret in self._secrets) - 1)
        for size in range(longest, 0, -1):
            tail = data[-size:]
            if any(secret.startswith(tail) for secret in self._secrets):
                return size
        return 0

    def _pass(self, data: bytes) -> None:
        if data:
            self._log.write(data)
            if self._viewer is not None:
                try:
                    self._viewer.write(data)
                    self._viewer.flush()
                except BrokenPipeError:  # the viewer left; the job goes on
                    self._viewer, self.viewer_left = None, True

    def end(self) -> None:
        """Pass on what was held back."""
        self._pass(self._held)
        self._held = b""
