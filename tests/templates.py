"""Templates compiled once for a whole run: hundreds of applications are made, each of which would compile its own."""

from __future__ import annotations

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class _Memory(BytecodeCache):
    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key] = bucket.bytecode_to_string()


def compile_once() -> None:
    """Let every application of this process share compiled templates. A changed template is compiled anew."""
    Flask.jinja_options.setdefault("bytecode_cache", _Memory())
