"""The commands."""

from __future__ import annotations

from flask import Flask


def register(app: Flask, *, mounted: bool) -> None:
    """Give the application its commands."""
