"""The wait before a retry, as a value: how many seconds, and whether each further wait doubles."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bgapp.errors import ConfigurationError, shown

LONGEST_SECONDS = 3600.0
ALLOWED = (
    f"seconds from 0 to {LONGEST_SECONDS:g}, alone or followed by 'doubling' or 'fixed', such as '15' or '5 fixed'"
)

_TEXT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:\s+(doubling|fixed))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Backoff:
    """How long a failed job waits before it runs again.

    `seconds` (0 to 3600) is the wait before the first retry. `fixed` says whether every further wait is the
    same; otherwise each is twice the one before.
    """

    seconds: float
    fixed: bool = False

    def __post_init__(self) -> None:
        # Written so that NaN, which compares false with everything, is refused too.
        if not 0 <= self.seconds <= LONGEST_SECONDS:
            raise _refusal(self.seconds)

    @classmethod
    def parse(cls, value: object) -> Backoff:
        """Return the backoff that `value` describes: a number of seconds, a text, or a Backoff as it is.

        Accepted: `15`, `15.0`, `"15"`, `"15 doubling"`, `"5 fixed"`. Raises ConfigurationError for all else.
        """
        if isinstance(value, Backoff):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not 0 <= value <= LONGEST_SECONDS:  # before float(), which huge integers overflow
                raise _refusal(value)
            return cls(float(value))
        match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise _refusal(value)
        return cls(float(match[1]), fixed=(match[2] or "").lower() == "fixed")

    def __str__(self) -> str:
        """Return the text that `parse` reads back as this backoff."""
        number = f"{self.seconds:.9f}".rstrip("0").rstrip(".")  # never an exponent, which `parse` refuses
        return f"{number} {'fixed' if self.fixed else 'doubling'}"


def _refusal(value: object) -> ConfigurationError:
    return ConfigurationError(f"backoff is {shown(value)}; it must be {ALLOWED}")
