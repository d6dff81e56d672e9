from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bgapp
from bgapp import attemptlog
from bgapp.attemptlog import AttemptLogWriter, Chunk, read, remove, tail, visible

posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX matter")
MARKER = re.compile(rb"\n--- ([0-9]+) bytes left out here ---\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return attemptlog.path(tmp_path / "logs", 12, 1)


def write(file: Path, stream: bytes, head: int = 100, tail: int = 100) -> None:
    with AttemptLogWriter(file, head, tail) as writer:
        writer.write(stream)


def follow(file: Path, offset: int = 0, limit: int = 50) -> list[Chunk]:
    """Read on from `offset` to where the stream ends for now."""
    chunks = [read(file, offset, limit)]
    while chunks[-1].next_offset < chunks[-1].end:
        chunks.append(read(file, chunks[-1].next_offset, limit))
    return chunks


def agrees(chunk: Chunk, stream: bytes) -> bool:
    """Return whether a chunk is what its offsets say of the stream, with the missing bytes counted."""
    data, span = chunk.data, chunk.next_offset - chunk.offset
    if data == stream[chunk.offset : chunk.next_offset]:
        return True
    for match in MARKER.finditer(data):
        before, after = data[: match.start()], data[match.end() :]
        rest = chunk.next_offset - len(after)
        if (
            len(before) + int(match[1]) + len(after) == span
            and before == stream[chunk.offset : chunk.offset + len(before)]
            and after == stream[rest : chunk.next_offset]
        ):
            return True
    return False


@pytest.mark.parametrize(("job", "attempt", "name"), [(1, 1, "0/1-1"), (999, 2, "0/999-2"), (12_345, 3, "12/12345-3")])
def test_paths_are_spread_over_folders(job: int, attempt: int, name: str) -> None:
    assert attemptlog.path(Path("logs"), job, attempt) == Path("logs") / "attempts" / f"{name}.log"


def test_a_path_is_made_of_numbers_only() -> None:
    with pytest.raises((ValueError, TypeError)):
        attemptlog.path(Path("logs"), 1, "../../x")  # type: ignore[arg-type]


def test_a_missing_file_is_an_empty_chunk(file: Path) -> None:
    assert read(file) == tail(file) == Chunk(b"", 0, 0, 0)


def test_a_follower_waits_for_a_missing_file_where_he_was(file: Path) -> None:
    assert read(file, 70) == Chunk(b"", 70, 70, 0)


def test_a_piece_is_told_with_its_offsets(file: Path) -> None:
    write(file, b"0123456789")
    assert read(file, 3, 4) == Chunk(b"3456", 3, 7, 10)
    assert read(file, 7, 4) == Chunk(b"789", 7, 10, 10)
    assert read(file, 10, 4) == Chunk(b"", 10, 10, 10)


@pytest.mark.parametrize(("offset", "limit", "data"), [(-5, 3, b"012"), (99, 3, b""), (2, 0, b""), (2, -1, b"")])
def test_offsets_and_limits_out_of_range_do_no_harm(file: Path, offset: int, limit: int, data: bytes) -> None:
    write(file, b"0123456789")
    chunk = read(file, offset, limit)
    assert chunk.data == data
    assert 0 <= chunk.offset <= chunk.next_offset <= 10


def test_who_reads_from_the_start_is_told_what_is_left_out(file: Path) -> None:
    write(file, b"h" * 100 + b"x" * 300 + b"t" * 100)
    chunk = read(file)
    assert chunk == Chunk(b"h" * 100 + b"\n--- 300 bytes left out here ---\n" + b"t" * 100, 0, 500, 500)


def test_who_has_read_some_of_what_is_left_out_is_told_of_the_rest(file: Path) -> None:
    write(file, b"h" * 100 + b"x" * 300 + b"t" * 100)
    assert read(file, 350, 10) == Chunk(b"\n--- 50 bytes left out here ---\n" + b"t" * 10, 350, 410, 500)
    assert read(file, 400, 10) == Chunk(b"t" * 10, 400, 410, 500)


def test_small_pieces_pass_the_gap_once(file: Path) -> None:
    stream = b"h" * 100 + b"x" * 300 + b"t" * 100
    write(file, stream)
    chunks = follow(file, limit=30)
    assert b"".join(chunk.data for chunk in chunks) == read(file).data
    assert all(agrees(chunk, stream) for chunk in chunks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=40),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(1, 500),
)
def test_a_follower_loses_and_repeats_nothing_while_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[bytes, bool]], head: int, last: int, limit: int
) -> None:
    file = tmp_path_factory.mktemp("logs") / "1-1.log"
    stream, offset, chunks = b"", 0, []
    with AttemptLogWriter(file, head, last) as writer:
        for data, looks in pieces:
            stream += data
            writer.write(data)
            if looks:
                chunks.append(read(file, offset, limit))
                assert chunks[-1].offset == offset
                offset = chunks[-1].next_offset
    if stream:
        chunks += follow(file, offset, limit)
        assert chunks[-1].end == chunks[-1].next_offset == len(stream)
    assert all(agrees(chunk, stream) for chunk in chunks)


def test_output_that_shows_another_output_with_a_gap_is_only_output(file: Path, tmp_path: Path) -> None:
    other = attemptlog.path(tmp_path / "logs", 13, 1)
    write(other, b"x" * 1000, 10, 10)
    shown = other.read_bytes()
    assert b"left out" in shown
    write(file, shown)
    assert read(file) == Chunk(shown, 0, len(shown), len(shown))


def test_a_false_marker_right_before_the_true_one_hides_nothing(file: Path) -> None:
    false = b"\n--- 5 bytes left out here --- [0 1]"
    write(file, false + b"x" * 1000, len(false), 10)
    assert read(file).data == false + b"\n--- 990 bytes left out here ---\n" + b"x" * 10


def test_a_marker_far_into_a_large_file_is_found(file: Path) -> None:
    for head in (65_536 - 128 - 20, 65_536, 300_000):
        write(file, b"h" * head + b"x" * 100_000, head, 10)
        assert read(file, head, 5) == Chunk(
            b"\n--- 99990 bytes left out here ---\nxxxxx", head, head + 99_995, head + 10**5
        )


@pytest.mark.parametrize("text", ["é", "東", "😀"])
def test_a_character_is_not_torn(file: Path, text: str) -> None:
    write(file, ("a" + text * 20).encode())
    for limit in range(len(text.encode()), 20):
        chunks = follow(file, limit=limit)
        assert "".join(chunk.data.decode() for chunk in chunks) == "a" + text * 20


def test_an_unfinished_character_is_given_when_nothing_else_is_left(file: Path) -> None:
    write(file, b"abc\xf0\x9f\x98")
    assert read(file) == Chunk(b"abc", 0, 3, 6)
    assert read(file, 3) == Chunk(b"\xf0\x9f\x98", 3, 6, 6)


def test_the_tail_is_the_last_bytes(file: Path) -> None:
    write(file, b"0123456789")
    assert tail(file, 4) == Chunk(b"6789", 6, 10, 10)
    assert tail(file, 100) == Chunk(b"0123456789", 0, 10, 10)


def test_a_tail_longer_than_what_follows_the_gap_shows_the_gap(file: Path) -> None:
    write(file, b"h" * 100 + b"x" * 300 + b"t" * 100)
    assert tail(file, 100) == Chunk(b"t" * 100, 400, 500, 500)
    assert tail(file, 120) == Chunk(b"h" * 20 + b"\n--- 300 bytes left out here ---\n" + b"t" * 100, 80, 500, 500)


def test_a_tail_can_be_followed(file: Path) -> None:
    with AttemptLogWriter(file, 100, 100) as writer:
        writer.write(b"one\ntwo\n")
        chunk = tail(file, 4)
        writer.write(b"three\n")
        assert read(file, chunk.next_offset).data == b"three\n"


def test_the_tail_of_a_huge_file_needs_no_reading_of_it(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with file.open("wb") as huge:
        huge.truncate(2 * 1024**3)
        huge.seek(0, os.SEEK_END)
        huge.write(b"end\n")
    chunk = tail(file, 1000)
    assert (len(chunk.data), chunk.data[-4:], chunk.end) == (1000, b"end\n", 2 * 1024**3 + 4)


@posix
def test_links_and_other_things_are_not_read(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "secret")
    assert read(file).data == tail(file).data == b""
    file.unlink()
    os.mkfifo(file)
    assert read(file).data == b""


def test_removing_takes_all_attempts_of_one_job(tmp_path: Path) -> None:
    for job, attempt in ((1, 1), (1, 2), (1, 11), (11, 1)):
        write(attemptlog.path(tmp_path, job, attempt), b"x")
    left = attemptlog.path(tmp_path, 1, 3)
    left.with_name(left.name + ".new").write_bytes(b"half")
    assert remove(tmp_path, 1) == 3
    assert [found.name for found in (tmp_path / "attempts" / "0").iterdir()] == ["11-1.log"]
    assert remove(tmp_path, 1) == 0


def test_the_last_job_of_a_folder_takes_the_folder_along(tmp_path: Path) -> None:
    write(attemptlog.path(tmp_path, 5, 1), b"x")
    assert remove(tmp_path, 5) == 1
    assert not (tmp_path / "attempts" / "0").exists()
    assert remove(tmp_path, 5) == 0


def test_plain_output_is_shown_as_it_is() -> None:
    assert visible("täglich\t東京 😀\nnext | line\\n".encode()) == "täglich\t東京 😀\nnext | line\\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        (b"10%\r20%", r"10%\r20%"),
        (b"from Windows\r\n", "from Windows\n"),
        (b"\x00\x08\x0b\x0c\x7f", r"\x00\x08\x0b\x0c\x7f"),
        ("\x85\x9b\u2028\u202e\u2066\u200b\ufeff".encode(), r"\x85\x9b\u2028\u202e\u2066\u200b\ufeff"),
        ("\U000e0041".encode(), r"\U000e0041"),
        (b"\xff\xfe ok \xc3", "�� ok �"),
        (b"\xed\xa0\x80", "���"),
    ],
)
def test_what_could_fool_a_terminal_is_made_visible(data: bytes, text: str) -> None:
    assert visible(data) == text


@given(st.binary())
def test_any_bytes_can_be_shown(data: bytes) -> None:
    shown = visible(data)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", shown)
    shown.encode()


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from bgapp.attemptlog import AttemptLogWriter
with AttemptLogWriter(Path(sys.argv[1]), 1000, 4000) as writer:
    for number in range(20_000):
        writer.write(b"%07d\\n" % number)
"""


def test_a_reader_in_another_process_loses_and_repeats_nothing(tmp_path: Path) -> None:
    file = tmp_path / "1-1.log"
    stream = b"".join(b"%07d\n" % number for number in range(20_000))
    arguments = [sys.executable, "-c", PROGRAM, str(file), str(Path(bgapp.__file__).parents[1])]
    chunks = [Chunk(b"", 0, 0, 0)]
    with subprocess.Popen(arguments) as process:
        while process.poll() is None:
            chunks.append(read(file, chunks[-1].next_offset, 3000))
    assert process.returncode == 0
    chunks += follow(file, chunks[-1].next_offset)
    assert chunks[-1].next_offset == chunks[-1].end == len(stream)
    assert all(agrees(chunk, stream) for chunk in chunks)
    assert [chunk.offset for chunk in chunks[1:]] == [chunk.next_offset for chunk in chunks[:-1]]
