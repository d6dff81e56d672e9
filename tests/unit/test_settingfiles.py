"""The files that give settings: read exactly, or refused with path and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bgapp.errors import ConfigurationError
from bgapp.settingfiles import LONGEST_FILE, from_dotenv, from_mapping, from_python


def write(folder: Path, content: str | bytes, name: str = "config.py") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def dotenv(folder: Path, content: str | bytes) -> Path:
    return write(folder, content, ".env")


def test_a_mapping_gives_only_names_with_the_prefix() -> None:
    given = {"BGAPP_TICK": 1, "bgapp_tick": 2, "TICK": 3, "SECRET_KEY": "s", 7: 4}
    assert from_mapping("app.config", given).values == {"BGAPP_TICK": 1, "bgapp_tick": 2}  # type: ignore[arg-type]
    assert from_mapping("app.config", None).values == {}


@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_a_file_that_is_not_there_gives_nothing(tmp_path: Path, read: type) -> None:
    assert read(tmp_path / "none").values == {}
    assert from_dotenv(None).values == {}


@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_an_empty_file_gives_nothing(tmp_path: Path, read: type) -> None:
    assert read(write(tmp_path, "")).values == {}


@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path, read: type) -> None:
    with pytest.raises(ConfigurationError, match="this must be a file"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes in folders")
@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_a_pipe_is_refused_without_waiting(tmp_path: Path, read: type) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="this must be a file"):
        read(tmp_path / "pipe")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads every file")
@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_an_unreadable_file_is_refused(tmp_path: Path, read: type) -> None:
    path = write(tmp_path, "BGAPP_TICK=2")
    path.chmod(0)
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*Permission denied"):
        read(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows only says that there is no such file")
@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_a_path_through_a_file_is_refused(tmp_path: Path, read: type) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(write(tmp_path, "") / "config.py")


@pytest.mark.parametrize("read", [from_dotenv, from_python])
def test_a_huge_file_is_refused(tmp_path: Path, read: type) -> None:
    with pytest.raises(ConfigurationError, match="too many for settings"):
        read(write(tmp_path, b"#" * (LONGEST_FILE + 1)))


@pytest.mark.parametrize("read", [from_dotenv, from_python])
@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01\0\0\0\xff\xfe", b"\xff\xfeB\0G\0", b"BGAPP_TICK=2\0"])
def test_a_binary_file_is_refused(tmp_path: Path, read: type, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.py"):
        read(write(tmp_path, content))


@pytest.mark.parametrize("read", [from_dotenv, from_python])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_and_a_byte_order_mark_do_no_harm(tmp_path: Path, read: type, ending: str, mark: bytes) -> None:
    lines = ["BGAPP_VERSION='a'", "", "# comment", "BGAPP_APP='b'", ""]
    source = read(write(tmp_path, mark + ending.join(lines).encode()))
    assert source.values == {"BGAPP_VERSION": "a", "BGAPP_APP": "b"}
    assert source.place("BGAPP_APP") == f"{tmp_path / 'config.py'}, line 4"


def test_dotenv_lines_may_be_quoted_exported_and_explained(tmp_path: Path) -> None:
    content = 'export BGAPP_TICK=2 # seconds\nBGAPP_ALLOWED_JOBS=\'{\n"a.B": ["c"]\n}\'\n\nBGAPP_VERSION\nOTHER=1\n'
    source = from_dotenv(dotenv(tmp_path, content))
    assert source.values == {"BGAPP_TICK": "2", "BGAPP_ALLOWED_JOBS": '{\n"a.B": ["c"]\n}', "BGAPP_VERSION": None}
    assert source.lines == {"BGAPP_TICK": 1, "BGAPP_ALLOWED_JOBS": 2, "BGAPP_VERSION": 6}


def test_dotenv_fills_in_other_names_even_in_single_quotes(tmp_path: Path) -> None:
    source = from_dotenv(dotenv(tmp_path, "BGAPP_TEST_OWN=x\nBGAPP_VERSION='v-${BGAPP_TEST_OWN}'\n"))
    assert source.values["BGAPP_VERSION"] == "v-x"


def test_a_dotenv_name_given_twice_is_refused(tmp_path: Path) -> None:
    path = dotenv(tmp_path, "BGAPP_TICK=1\nOTHER=1\nOTHER=2\nBGAPP_TICK=2\n")
    with pytest.raises(ConfigurationError, match=r"\.env, line 4: BGAPP_TICK was given in line 1 too"):
        from_dotenv(path)


@pytest.mark.parametrize("line", ["BGAPP_VERSION='x", 'BGAPP_APP="x', "BGAPP TICK=2"])
def test_a_dotenv_line_of_ours_that_cannot_be_read_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\.env, line 3: this cannot be read"):
        from_dotenv(dotenv(tmp_path, f"\nOTHER=1\n{line}\nOTHER2=2\n"))


def test_a_broken_dotenv_line_of_others_is_left_to_them(tmp_path: Path) -> None:
    assert from_dotenv(dotenv(tmp_path, "OTHER THING\nBGAPP_TICK=2\n")).values == {"BGAPP_TICK": "2"}


def test_dotenv_bytes_that_are_not_utf8_are_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.env, line 2: this is not UTF-8 text"):
        from_dotenv(dotenv(tmp_path, b"A=1\nBGAPP_VERSION=\xe9\n"))


def test_a_python_file_may_compute_and_knows_its_own_path(tmp_path: Path) -> None:
    content = "import os\nhere = os.path.dirname(__file__)\nBGAPP_LOG_DIR = os.path.join(here, 'l')\nSECRET_KEY = 's'\n"
    source = from_python(write(tmp_path, content))
    assert source.values == {"BGAPP_LOG_DIR": str(tmp_path / "l")}
    assert source.place("BGAPP_LOG_DIR").endswith("config.py, line 3")


def test_the_last_assignment_of_a_python_file_counts(tmp_path: Path) -> None:
    source = from_python(write(tmp_path, "BGAPP_TICK = 1\nif True:\n    BGAPP_TICK: int = 2\n"))
    assert source.values == {"BGAPP_TICK": 2}
    assert source.lines["BGAPP_TICK"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 1\nb = (\n", "line 2: this is not Python"),
        ("\n\nx: = 1\n", "line 3: this is not Python"),
        ("BGAPP_TICK: 1\nBGAPP_VERSION = \tx y", "line 2: this is not Python"),
        ("(" * 5000 + ")" * 5000, "this is not Python"),
        ("a = 1\n\n1 / 0\n", "line 3: the file raised ZeroDivisionError: division by zero"),
        ("import os\n\nos.environ['BGAPP_NOT_THERE']\n", "line 3: the file raised KeyError: 'BGAPP_NOT_THERE'"),
        ("def f():\n    g()\n\nf()\n", "line 2: the file raised NameError"),
        ("import bgapp_no_such_module\n", "line 1: the file raised ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "line 1: the file raised SystemExit: 3"),
        ("compile('x y', 'elsewhere', 'exec')\n", "line 1: the file raised SyntaxError"),
    ],
)
def test_a_broken_python_file_is_refused_with_the_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.py") as caught:
        from_python(write(tmp_path, content))
    assert message in str(caught.value)


def test_ctrl_c_within_a_python_file_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        from_python(write(tmp_path, "raise KeyboardInterrupt\n"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no owners of files")
def test_a_python_file_that_everyone_may_write_is_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0o644)
    assert from_python(path).warnings == ()
    path.chmod(0o666)
    (warning,) = from_python(path).warnings
    assert f"chmod o-w {path}" in warning
