"""The smallest job classes: what a job looks like when nothing else is in the way."""

from __future__ import annotations

from typing import Any


class JobService:
    """Takes two parameters, so that one too few is refused before anything is stored."""

    def execute(self, first: str, second: str) -> dict[str, Any]:
        """Print both words and return them.

        first: any text.
        second: any text.
        """
        print(f"{first} {second}")
        return {"first": first, "second": second}


class SampleJob:
    """Takes one text and says that it did."""

    def process(self, data: str) -> dict[str, Any]:
        """Count the characters and words of a text.

        data: any text.
        """
        return {"processed": True, "characters": len(data), "words": len(data.split())}

    def execute(self, message: str = "Hello, Background Job!") -> dict[str, Any]:
        """Print a message to the attempt's log and return it.

        message: any text.
        """
        print(message)
        return {"message": message}
