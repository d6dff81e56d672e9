from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgapp import attemptlog
from bgapp.attemptwriter import AttemptLogWriter

posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX matter")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return attemptlog.path(tmp_path / "logs", 12, 1)


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond `limit` bytes, as a quota or a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def whole(file: Path) -> bytes:
    return attemptlog.read(file).data


def left_out(count: int) -> bytes:
    return b"\n--- %d bytes left out here ---\n" % count


def counting(count: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(count))


def test_a_short_stream_is_the_file(file: Path) -> None:
    with AttemptLogWriter(file, 10, 10) as writer:
        writer.write(b"one\n")
        writer.write(b"\x00\xff\r\n")
        assert file.read_bytes() == b"one\n\x00\xff\r\n"
    assert file.read_bytes() == b"one\n\x00\xff\r\n"
    assert (writer.total, writer.dropped) == (8, 0)


def test_without_output_there_is_no_file(file: Path) -> None:
    with AttemptLogWriter(file, 10, 10) as writer:
        writer.write(b"")
    assert not file.exists()


def test_everything_is_there_until_head_and_twice_the_tail_are_full(file: Path) -> None:
    stream = counting(5)
    with AttemptLogWriter(file, 8, 16) as writer:
        for place in range(0, len(stream), 4):
            writer.write(stream[place : place + 4])
            assert file.read_bytes() == stream[: place + 4]
        assert writer.dropped == 0


@pytest.mark.parametrize("block", [1, 7, 40, 1000, 80_000])
def test_a_long_stream_ends_as_head_count_and_tail(file: Path, block: int) -> None:
    stream = counting(10_000)
    with AttemptLogWriter(file, 1000, 2000) as writer:
        for place in range(0, len(stream), block):
            writer.write(stream[place : place + block])
            assert file.stat().st_size < 1000 + 2 * 2000 + 100
    assert whole(file) == stream[:1000] + left_out(77_000) + stream[-2000:]
    assert (writer.total, writer.dropped) == (80_000, 77_000)


@pytest.mark.parametrize(("head", "tail"), [(0, 0), (0, 10), (10, 0), (1, 1)])
def test_either_end_may_be_empty(file: Path, head: int, tail: int) -> None:
    stream = counting(10)
    with AttemptLogWriter(file, head, tail) as writer:
        for place in range(len(stream)):
            writer.write(stream[place : place + 1])
    assert whole(file) == stream[:head] + left_out(80 - head - tail) + stream[80 - tail :]


def test_one_byte_too_many_is_counted_too(file: Path) -> None:
    with AttemptLogWriter(file, 4, 4) as writer:
        writer.write(b"012345678")
    assert whole(file) == b"0123" + left_out(1) + b"5678"


@pytest.mark.parametrize(("head", "tail"), [(-1, 0), (0, -1), (2**40, 0), (0, 2**40)])
def test_sizes_out_of_range_are_refused(file: Path, head: int, tail: int) -> None:
    with pytest.raises(ValueError, match="head and tail must be 0 to"):
        AttemptLogWriter(file, head, tail)


def test_writing_after_the_end_is_a_mistake(file: Path) -> None:
    writer = AttemptLogWriter(file, 4, 4)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.write(b"x")


def test_the_file_of_a_former_job_of_the_same_number_goes(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"of another database")
    writer = AttemptLogWriter(file, 4, 4)
    assert not file.exists()
    writer.close()


def test_what_a_killed_writer_left_half_written_is_no_hindrance(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.with_name(file.name + ".new").write_bytes(b"half")
    with AttemptLogWriter(file, 4, 4) as writer:
        writer.write(b"x")
    assert [found.name for found in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == b"x"


@posix
def test_file_and_folders_are_private_under_any_umask(file: Path, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with AttemptLogWriter(file, 4, 4) as writer:
            writer.write(b"x")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            writer.write(b"y" * 100)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (file.parent, file.parent.parent, tmp_path / "logs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
def test_a_full_disk_loses_nothing_that_the_tail_can_hold(file: Path) -> None:
    with AttemptLogWriter(file, 100, 1000) as writer:
        writer.write(b"a" * 50)
        with full_disk(60):
            writer.write(b"b" * 50)
            writer.write(b"c" * 50)
            assert file.read_bytes() == b"a" * 50 + b"b" * 10
            assert writer.dropped == 90
        writer.write(b"d")
        assert writer.dropped == 0
    assert whole(file) == b"a" * 50 + b"b" * 50 + b"c" * 50 + b"d"


@posix
def test_what_a_full_disk_lost_is_counted_exactly(file: Path) -> None:
    stream = counting(1000)
    with AttemptLogWriter(file, 1000, 100) as writer:
        writer.write(stream[:400])
        with full_disk(500):
            for place in range(400, 7000, 50):
                writer.write(stream[place : place + 50])
            assert file.read_bytes() == stream[:500]
        for place in range(7000, 8000, 50):
            writer.write(stream[place : place + 50])
    kept = 8000 - 500 - writer.dropped
    assert 100 <= kept <= 1100
    assert whole(file) == stream[:500] + left_out(writer.dropped) + stream[-kept:]


@posix
def test_a_disk_that_stays_full_never_raises_and_holds_little(file: Path) -> None:
    with full_disk(0), AttemptLogWriter(file, 100, 100) as writer:
        for _ in range(100):
            writer.write(b"x" * 1000)
        assert len(writer._held) <= 200
    assert (writer.total, writer.dropped) == (100_000, 100_000)
    assert not file.exists()


@posix
def test_a_cut_that_finds_no_room_leaves_the_file_and_is_tried_again(file: Path) -> None:
    stream = counting(100)
    with AttemptLogWriter(file, 100, 200) as writer:
        writer.write(stream[:480])
        with full_disk(250):
            writer.write(stream[480:700])
            assert file.read_bytes() == stream[:480]
            assert sorted(found.name for found in file.parent.iterdir()) == [file.name]
        writer.write(stream[700:])
    assert whole(file) == stream[:100] + left_out(500) + stream[-200:]


@posix
def test_a_removed_folder_comes_back_with_the_whole_stream(file: Path) -> None:
    with AttemptLogWriter(file, 100, 100) as writer:
        writer.write(b"one\n")
        writer.write(b"two\n")
        file.unlink()
        file.parent.rmdir()
        writer.write(b"three\n")
        assert file.read_bytes() == b"one\ntwo\nthree\n"


@posix
def test_a_file_cut_by_somebody_counts_as_left_out(file: Path) -> None:
    with AttemptLogWriter(file, 100, 100) as writer:
        writer.write(b"one\n")
        writer.write(b"two\n")
        os.truncate(file, 0)
        writer.write(b"three\n")
        assert writer.dropped == 8
    assert whole(file) == left_out(8) + b"three\n"


@posix
def test_a_link_in_the_place_of_the_file_is_not_followed(file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with AttemptLogWriter(file, 100, 100) as writer:
        writer.write(b"one\n")
        file.unlink()
        file.symlink_to(victim)
        writer.write(b"two\n")
    assert victim.read_text() == "mine"
    assert whole(file).endswith(b"two\n")
    assert not file.is_symlink()


@posix
def test_a_folder_in_the_place_of_the_file_never_raises(file: Path) -> None:
    file.mkdir(parents=True)
    with AttemptLogWriter(file, 100, 100) as writer:
        writer.write(b"one\n")
        assert writer.dropped == 4
        file.rmdir()
        writer.write(b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"
