"""From a call's arguments to a checked job, ready to be stored; nothing is stored here."""

from __future__ import annotations

import json
from datetime import datetime

from bgapp import options, parameters
from bgapp.allowlist import AllowList
from bgapp.errors import BadParameters
from bgapp.records import NewJob
from bgapp.settings import Settings

NORMAL_PRIORITY = 0
DEFAULT_QUEUE = "default"


def build(
    settings: Settings,
    allowlist: AllowList,
    job_class: object,
    method: object,
    params: object,
    *,
    retries: object = None,
    delay: object = 0,
    priority: object = NORMAL_PRIORITY,
    queue: object = DEFAULT_QUEUE,
    timeout: object = None,
    backoff: object = None,
    unique_key: object = None,
    created_by: str | None = None,
    now: datetime,
) -> NewJob:
    """Return the job that a call asks for. Raises a subclass of JobRejected that names the argument at fault.

    A priority of 0 and a queue of "default" are what a call says that says nothing, so the allow-list's own come
    first; the word "normal" asks for priority 0 all the same.
    """
    key = allowlist.find(job_class)
    allowed = allowlist.allowed(key, method)  # type: ignore[arg-type] # checked there, whatever it is
    chosen = options.check(
        retries=retries,
        delay=delay,
        priority=None if type(priority) is int and priority == NORMAL_PRIORITY else priority,
        queue=None if type(queue) is str and queue == DEFAULT_QUEUE else queue,
        timeout=timeout,
        backoff=backoff,
        unique_key=unique_key,
        defaults=allowed.options,
        settings=settings,
        now=now,
    )
    bound = parameters.bind(allowlist.load(key), allowed.method, params, settings.secret_keys)
    return NewJob(
        job_class=key,
        method=allowed.method,
        params=bound.text,
        secret_params=json.dumps(list(bound.secrets)),
        retries=chosen.retries,
        backoff=chosen.backoff,
        timeout=chosen.timeout,
        queue=chosen.queue,
        priority=chosen.priority,
        run_at=chosen.run_at,
        created_at=now,
        unique_key=chosen.unique_key,
        created_by=created_by,
    )


def from_words(words: list[str], named: str | None) -> object:
    """Return a command's parameters: its words by position, or the JSON object of `--kwargs` by name.

    Raises BadParameters where both are given or the JSON is no object.
    """
    if named is None:
        return words
    if words:
        raise BadParameters("parameters come as words or by --kwargs, not both", "params")
    from bgapp import jsontext

    values = jsontext.decode(named, "params")
    if not isinstance(values, dict):
        raise BadParameters("--kwargs takes a JSON object of parameters by name", "params")
    return values
