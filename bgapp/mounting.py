"""Put the dashboard into an application: under a prefix of somebody else's, or as the whole of the stand-alone one."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from flask import Flask

from bgapp import secretkey
from bgapp.errors import ConfigurationError, shown

if TYPE_CHECKING:
    from bgapp.web.access import Access


def mount(app: Flask, access: Access | None, prefix: str | None) -> None:
    """Add the dashboard under `prefix`; nothing of the application's is replaced. Raises ConfigurationError."""
    # The web is loaded with an application, not with `import bgapp`: a script that only asks for jobs needs none.
    from bgapp.web import blueprint
    from bgapp.web.access import ACCESS

    if access is not None and not callable(access):
        raise ConfigurationError(f"access must be a function without arguments, not {shown(access)}")
    app.extensions[ACCESS] = access
    if prefix is None:
        return
    if not isinstance(prefix, str) or not prefix.startswith("/") or (len(prefix) > 1 and prefix.endswith("/")):
        raise ConfigurationError(f'url_prefix must be a path such as "/jobs", or None, not {shown(prefix)}')
    prefix = prefix.rstrip("/")
    if blueprint.NAME in app.blueprints:
        raise ConfigurationError(f"the application {app.name!r} has a blueprint named {blueprint.NAME!r} of its own")
    _refuse_taken(app, {prefix + route.path for route in blueprint.PAGES})
    app.register_blueprint(blueprint.make(), url_prefix=prefix or None)


def _refuse_taken(app: Flask, paths: set[str]) -> None:
    taken = sorted({rule.rule for rule in app.url_map.iter_rules()} & paths)
    if taken:
        raise ConfigurationError(
            f"the application {app.name!r} has a page at {taken[0]} already: give BackgroundJobs another url_prefix,"
            " or url_prefix=None for no dashboard"
        )


def stand_alone(app: Flask) -> None:
    """Make the dashboard the whole application, with users, logins and error pages of its own."""
    from bgapp.web import blueprint, errors, headers, standalone_access
    from bgapp.web.access import ACCESS

    app.extensions[headers.STANDALONE] = True
    app.extensions[ACCESS] = standalone_access.viewer
    standalone_access.install(app)
    app.register_blueprint(blueprint.make(blueprint.PAGES + blueprint.ACCOUNTS))
    errors.register(app)
    app.after_request(headers.add)


def refuse_unsafe(app: Flask, host: str | None) -> None:
    """Raise ConfigurationError for what must not be served: a key that can be guessed, the debugger for everybody.

    `host` is the address that `flask run` will listen on, None for other servers, which have no debugger.
    Somebody else's application is left to its owner.
    """
    from bgapp.web.headers import STANDALONE

    if STANDALONE not in app.extensions:
        return
    if app.debug:
        if host is not None and not _is_loopback(host):
            raise ConfigurationError(
                f"debug mode lets whoever reaches {host} run code on this machine: leave --debug out, or --host"
            )
    elif app.secret_key:
        secretkey.refuse_weak(app.secret_key, "the application")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
