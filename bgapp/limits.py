"""What one attempt may use at most, and sizes in words.

Only numbers stand here: `options` checks what people write, `system` tells the kernel, `outcome` judges.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB = 1024, 1024**2, 1024**3
HEAD_SHARE = 4  # a quarter of the kept output is its beginning, the rest its end


@dataclass(frozen=True)
class Limits:
    """The limits of one attempt; None where there is none.

    `cpu` is seconds of processor time and `memory` bytes that one process may add to the loaded application.
    `open_files` is a number of descriptors. `output` is bytes of captured output that are kept. `nice` is added to
    the application's own niceness.
    """

    cpu: int | None = None
    memory: int | None = None
    open_files: int | None = None
    output: int | None = None
    nice: int = 0

    def kept_output(self, head: int, tail: int) -> tuple[int, int]:
        """Return how many bytes of the beginning and of the end of the output are kept; given are the settings'."""
        if self.output is None:
            return head, tail
        return self.output // HEAD_SHARE, self.output - self.output // HEAD_SHARE


NO_LIMITS = Limits()


def size(count: int) -> str:
    """Return a number of bytes in the unit that fits it: 200 MiB, 1.5 GiB."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{round(count / unit, 1):g} {name}"
    return f"{count} bytes"
