"""From a stored job to what is called: allow-list, class, parameters and instance, each checked once more."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from bgapp import parameters
from bgapp.allowlist import AllowList


@dataclass(frozen=True)
class Call:
    """A method of a fresh instance with its converted arguments."""

    target: Callable[..., Any]
    arguments: list[Any]
    named: Mapping[str, Any]

    def __call__(self) -> Any:
        """Call it; a coroutine is run to its end. Raises whatever the method raises."""
        value = self.target(*self.arguments, **self.named)
        return _run(value) if inspect.iscoroutine(value) else value


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; in a thread of its own where this one has a loop already, as in some test suites."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()


def prepare(allowlist: AllowList, job_class: str, method: str, params: str) -> Call:
    """Return the call that a stored job asks for; `params` is its JSON object.

    Raises JobRejected (no longer allowed, import failed, parameters no longer fit), and whatever making an instance
    of the class raises.
    """
    found = allowlist.function(allowlist.allowed(job_class, method))
    arguments, named = parameters.call_arguments(found.cls, method, json.loads(params))
    return Call(found.target(), arguments, named)
