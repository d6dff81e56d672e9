from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from bgapp.masking import MASK
from bgapp.runner.output import Output

SECRETS = st.frozensets(st.text("abé", min_size=2, max_size=6), max_size=4)
CHUNKS = st.lists(st.binary(max_size=6) | st.text("abé", max_size=8).map(str.encode), max_size=30)


class Log:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def written(chunks: list[bytes], secrets: frozenset[str] = frozenset(), viewer: io.BytesIO | None = None) -> bytes:
    log = Log()
    output = Output(log, secrets, viewer)
    for chunk in chunks:
        output.write(chunk)
    output.end()
    return log.data


@given(CHUNKS)
def test_without_secrets_every_byte_passes(chunks: list[bytes]) -> None:
    assert written(chunks) == b"".join(chunks)


@given(CHUNKS, SECRETS)
def test_no_secret_passes_however_it_is_cut(chunks: list[bytes], secrets: frozenset[str]) -> None:
    data = written(chunks, secrets)
    assert not any(secret.encode() in data for secret in secrets)


@given(CHUNKS, st.text("abc", min_size=4, max_size=6))
def test_one_secret_is_masked_and_nothing_else_is_touched(chunks: list[bytes], secret: str) -> None:
    whole = b"".join(chunks).replace(secret.encode(), MASK.encode())
    assert written(chunks, frozenset({secret})) == whole


def test_a_secret_inside_a_longer_one_goes_with_it() -> None:
    assert written([b"<longsecret> <long>"], frozenset({"long", "longsecret"})) == b"<***> <***>"


def test_what_could_begin_a_secret_waits_for_the_rest_or_the_end() -> None:
    log = Log()
    output = Output(log, frozenset({"secret"}))
    output.write(b"the sec")
    assert log.data == b"the "
    output.write(b"ond")
    assert log.data == b"the second"
    output.write(b" s")
    output.end()
    output.end()
    assert log.data == b"the second s"


def test_a_viewer_sees_the_same_as_the_log() -> None:
    viewer = io.BytesIO()
    assert written([b"a pass", b"word\n"], frozenset({"password"}), viewer) == viewer.getvalue() == b"a ***\n"
