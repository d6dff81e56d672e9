from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bgapp.allowlist import Allowed, AllowList, MethodOptions
from bgapp.allowlistsetting import SETTING
from bgapp.backoff import Backoff
from bgapp.errors import ClassNotAllowed, ClassUnknown, ConfigurationError, MethodNotAllowed, MethodUnknown
from bgapp.limits import Limits
from tests.unit import job_classes
from tests.unit.job_classes import Magic, Parameters, Report

HERE = "tests.unit.job_classes"
REPORT = f"{HERE}.Report"


def allow(*methods: str, key: str = REPORT) -> AllowList:
    return AllowList.from_setting({key: list(methods)})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes a module into a package of its own and returns the module's name."""
    name = f"shop_{abs(hash(tmp_path))}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module: str, source: str) -> str:
        (folder / f"{module}.py").write_text(source)
        return f"{name}.{module}"

    yield write
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


# Shapes of the setting


@pytest.mark.parametrize(
    "value",
    [
        {REPORT: ["build"]},
        {REPORT: ("build",)},
        {Report: ["build"]},
        {REPORT: {"methods": ["build"]}},
        {REPORT: {"allowed_methods": ["build"]}},
        {REPORT: {"methods": {"build": {}}}},
        {REPORT: {"methods": {"build": None}}},
        {REPORT: {"methods": {"build": {"reuse": 1, "retries": None}}}},
    ],
)
def test_every_shape_becomes_one(value: Any) -> None:
    allowlist = AllowList.from_setting(value)
    assert allowlist.keys() == [REPORT]
    assert allowlist.entries() == [Allowed(REPORT, "build", MethodOptions())]
    assert allowlist.text() == allow("build").text()


@pytest.mark.parametrize("value", [None, {}, [], ()])
def test_nothing_allows_nothing(value: Any) -> None:
    allowlist = AllowList.from_setting(value)
    assert allowlist.keys() == []
    assert allowlist.entries() == []
    with pytest.raises(ClassNotAllowed):
        allowlist.find(REPORT)


@pytest.mark.parametrize("value", [[Report], [REPORT], (REPORT,), {Report}, [Report, REPORT]])
def test_a_list_of_classes_allows_their_own_public_methods(value: Any) -> None:
    allowlist = AllowList.from_setting(value)
    assert [entry.method for entry in allowlist.entries()] == ["build", "count", "name", "fetch", "cached"]
    assert allowlist.allowed(REPORT, "build") == Allowed(REPORT, "build", MethodOptions())
    with pytest.raises(MethodNotAllowed, match="inherited: to allow it, list it by name"):
        allowlist.allowed(REPORT, "inherited")
    assert allow("inherited").allowed(REPORT, "inherited").method == "inherited"


def test_defaults_of_a_method() -> None:
    defaults = {"retries": 5, "backoff": "5 fixed", "timeout": 600, "queue": "slow", "priority": "high", "reuse": 100}
    allowlist = AllowList.from_setting({REPORT: {"methods": {"build": defaults, "count": {}}}})
    assert allowlist.allowed(REPORT, "build").options == MethodOptions(
        retries=5, backoff=Backoff(5, fixed=True), timeout=600.0, queue="slow", priority=10, reuse=100
    )
    assert allowlist.allowed(REPORT, "count").options == MethodOptions()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("shop.jobs.Report", "neither a mapping"),
        (5, "neither a mapping"),
        ([5], "5 is neither a class nor"),
        ([None], "None is neither a class nor"),
        ([["a.B"]], "neither a class nor"),
        ({5: ["m"]}, "5 is neither a class nor"),
        (["Report"], "shop.jobs.ReportJob"),
        ([""], "dotted name"),
        (["a..b"], "dotted name"),
        ([".a.B"], "dotted name"),
        (["a.B."], "dotted name"),
        (["mod:Class"], "dotted name"),
        (["a.B,c.D"], "dotted name"),
        (["a.B\n"], "dotted name"),
        (["a.B\0"], "dotted name"),
        (["a.class"], "dotted name"),
        (["a.1B"], "dotted name"),
        (["a.Ｂ"], "dotted name"),
        (["a." + "B" * 300], "dotted name"),
        ({"a.B": "build"}, 'write a list of names, such as \\["build"\\]'),
        ({"a.B": None}, "write a list of names"),
        ({"a.B": 5}, "write a list of names"),
        ({"a.B": []}, "no methods"),
        ({"a.B": {"methods": {}}}, "no methods"),
        ({"a.B": {}}, "needs one of methods and allowed_methods"),
        ({"a.B": {"methods": ["m"], "allowed_methods": ["m"]}}, "needs one of"),
        ({"a.B": {"method": ["m"]}}, "did you mean 'methods'"),
        ({"a.B": {"retries": 5}}, "defaults belong to a method"),
        ({"a.B": {"methods": "m"}}, "write a list of names"),
        ({"a.B": [""]}, "not the name of a method"),
        ({"a.B": ["a.b"]}, "not the name of a method"),
        ({"a.B": ["a()"]}, "not the name of a method"),
        ({"a.B": [5]}, "not the name of a method"),
        ({"a.B": ["_x"]}, "private"),
        ({"a.B": ["__init__"]}, "private"),
        ({"a.B": {"methods": {"m": 5}}}, "write a mapping"),
        ({"a.B": {"methods": {"m": {"retry": 5}}}}, "did you mean 'retries'"),
        ({"a.B": {"methods": {"m": {"color": 5}}}}, "known are retries, backoff"),
        ({"a.B": {"methods": {"m": {"retries": 101}}}}, "a.B.m: retries is 101"),
        ({"a.B": {"methods": {"m": {"timeout": 0}}}}, "a.B.m: timeout is 0"),
        ({"a.B": {"methods": {"m": {"queue": "a b"}}}}, "a.B.m: queue is 'a b'"),
        ({"a.B": {"methods": {"m": {"priority": 101}}}}, "a.B.m: priority is 101"),
        ({"a.B": {"methods": {"m": {"backoff": -1}}}}, "a.B.m: backoff is -1"),
        ({"a.B": {"methods": {"m": {"reuse": 0}}}}, "a.B.m: reuse is 0"),
        ({"a.B": {"methods": {"m": {"reuse": 100_001}}}}, "a.B.m: reuse is 100001"),
        ({REPORT: ["build"], Report: ["count"]}, "there twice"),
    ],
)
def test_slips_in_the_setting_are_named(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        AllowList.from_setting(value)
    assert str(caught.value).startswith("BGAPP_ALLOWED_JOBS: ")


def test_classes_that_no_other_process_can_find_are_refused() -> None:
    class Local:
        pass

    script = type("Script", (), {"__module__": "__main__"})
    with pytest.raises(ConfigurationError, match="inside a function"):
        AllowList.from_setting([Local])
    with pytest.raises(ConfigurationError, match="script that was started"):
        AllowList.from_setting({script: ["work"]})


def test_reading_the_setting_imports_nothing(package: Any) -> None:
    module = package("jobs", "class Report:\n    def build(self): ...\n")
    allowlist = AllowList.from_setting({f"{module}.Report": ["build"]})
    allowlist.find("Report")
    assert module not in sys.modules
    allowlist.allowed(f"{module}.Report", "build")
    assert module in sys.modules


def test_the_text_is_the_same_for_the_same_list_and_only_then() -> None:
    first = AllowList.from_setting({"a.B": ["x", "y"], "c.D": ["z"]}).text()
    assert AllowList.from_setting({"c.D": {"methods": {"z": {}}}, "a.B": ("y", "x")}).text() == first
    assert AllowList.from_setting({"a.B": ["x", "y"], "c.D": {"methods": {"z": {"retries": 1}}}}).text() != first
    assert AllowList.from_setting(["a.B", "c.D"]).text() != first
    json.loads(first)


# Finding a class


def test_a_class_is_found_as_object_by_key_and_by_bare_name() -> None:
    allowlist = allow("build")
    assert allowlist.find(Report) == allowlist.find(REPORT) == allowlist.find("Report") == REPORT
    assert allowlist.find(Report) == REPORT  # again, now from memory


@pytest.mark.parametrize(
    "job_class",
    [
        None, 5, 5.0, b"Report", [Report], Report(), Report.build, functools, "", " ", "a..b", "os", "builtins", "type",
        "os.system", "builtins.eval", f"{HERE}:Report", f"{HERE}.Report ", " Report", "report", f"{HERE}.Report\0",
        f"{HERE}.Report\n", "R\u0435port", "Ｒeport", "x" * 10_000, ".Report", f"{HERE}.Base", "Report,Report",
        "Report.build", f"{HERE}.Report.Inner", job_classes.Base, int, type, object,
    ],
)  # fmt: skip
def test_only_what_is_listed_is_found(job_class: Any) -> None:
    with pytest.raises(ClassNotAllowed) as caught:
        allow("build").find(job_class)
    assert caught.value.argument == "job_class"
    assert len(str(caught.value)) < 250
    assert not any(character in str(caught.value) for character in "\n\0")


def test_an_ambiguous_name_names_the_candidates() -> None:
    allowlist = AllowList.from_setting({"shop.jobs.Report": ["a"], "till.jobs.Report": ["b"]})
    with pytest.raises(ClassNotAllowed, match=r"'Report' could be shop.jobs.Report or till.jobs.Report"):
        allowlist.find("Report")
    assert allowlist.find("till.jobs.Report") == "till.jobs.Report"


def test_a_slip_gets_the_nearest_name() -> None:
    with pytest.raises(ClassNotAllowed, match=r"did you mean Report\?"):
        allow("build").find("Reprot")


def test_a_class_matches_the_entry_that_imports_to_it(package: Any) -> None:
    inner = package("inner", "class Report:\n    def build(self): ...\n")
    outer = package("outer", f"from {inner} import Report\nfrom {inner} import Report as Other\n")
    for key in (f"{outer}.Report", f"{outer}.Other"):
        allowlist = AllowList.from_setting({"broken.module.Report": ["build"], key: ["build"]})
        module = __import__(inner, fromlist=["Report"])
        assert allowlist.find(module.Report) == key
        with pytest.raises(ClassNotAllowed):
            allowlist.find(f"{inner}.Report")
        namesake = type("Report", (), {"__module__": outer, "__qualname__": "Report"})
        with pytest.raises(ClassNotAllowed):
            allowlist.find(namesake)


def test_text_from_outside_is_never_imported() -> None:
    allowlist = allow("build")
    before = set(sys.modules)
    for name in ("xml.dom.expatbuilder.Namespaces", "this", "antigravity.fly", "antigravity"):
        with pytest.raises(ClassNotAllowed):
            allowlist.find(name)
        with pytest.raises(ClassNotAllowed):
            allowlist.allowed(name, "build")
        with pytest.raises(ClassNotAllowed):
            allowlist.load(name)
    assert not {"this", "antigravity", "xml.dom.expatbuilder"} & (set(sys.modules) - before)


# Methods


@pytest.mark.parametrize("method", ["build", "count", "name", "fetch", "cached", "inherited"])
def test_methods_of_every_kind_can_be_allowed(method: str) -> None:
    allowlist = allow(method)
    allowed = allowlist.allowed(REPORT, method)
    assert allowed == Allowed(REPORT, method, MethodOptions())
    assert allowlist.allowed(REPORT, method) is allowed
    assert allowlist.problems() == []


@pytest.mark.parametrize("method", ["count", "_private", "__init__", "__class__", "__dict__", "title", "size", "Inner"])
def test_what_the_class_has_but_the_list_has_not_is_not_allowed(method: str) -> None:
    for allowlist in (allow("build"), AllowList.from_setting([REPORT])):
        if method == "count" and allowlist.text() != allow("build").text():
            continue
        with pytest.raises(MethodNotAllowed) as caught:
            allowlist.allowed(REPORT, method)
        assert caught.value.argument == "method"


@pytest.mark.parametrize(
    "method", ["", "missing", "a.b", "build()", "build ", "Build", "b\u0443ild", "x" * 9999, None, 5, b"build"]
)
def test_what_the_class_has_not_is_unknown(method: Any) -> None:
    for allowlist in (allow("build"), AllowList.from_setting([REPORT])):
        with pytest.raises(MethodUnknown) as caught:
            allowlist.allowed(REPORT, method)
        assert caught.value.argument == "method"
        assert len(str(caught.value)) < 250


def test_a_slip_in_a_method_gets_the_nearest_name() -> None:
    with pytest.raises(MethodUnknown, match=r"did you mean build\?"):
        allow("build").allowed(REPORT, "biuld")


def test_a_listed_method_that_is_gone_is_unknown() -> None:
    with pytest.raises(MethodUnknown):
        allow("gone").allowed(REPORT, "gone")


@pytest.mark.parametrize(
    ("key", "method", "words"),
    [
        (REPORT, "steps", "generator function"),
        (REPORT, "ticks", "async generator"),
        (REPORT, "size", "is a property"),
        (REPORT, "weight", "not a method"),
        (REPORT, "title", "not a method, but a value of the type str"),
        (REPORT, "Inner", "is a class"),
        (f"{HERE}.NeedsArguments", "work", "cannot be made without arguments: missing a required argument: 'place'"),
        (f"{HERE}.Unfinished", "work", "abstract"),
    ],
)
def test_what_cannot_be_a_job_is_not_allowed_even_if_listed(key: str, method: str, words: str) -> None:
    allowlist = allow(method, key=key)
    with pytest.raises(MethodNotAllowed, match=words):
        allowlist.allowed(key, method)
    assert len(allowlist.problems()) == 1


def test_a_static_method_needs_no_instance() -> None:
    key = f"{HERE}.NeedsArguments"
    assert allow("free", key=key).allowed(key, "free").method == "free"
    assert [entry.method for entry in AllowList.from_setting([key]).entries()] == ["free"]


def test_no_attribute_is_read_by_text_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            read.append(name)
            return super().__getattribute__(name)

    guarded = Meta("Guarded", (Magic,), {"work": lambda self: None, "__module__": HERE, "__qualname__": "Guarded"})
    monkeypatch.setattr(job_classes, "Guarded", guarded, raising=False)
    key = f"{HERE}.Guarded"
    allowlist = allow("work", key=key)
    assert allowlist.allowed(key, "work").method == "work"
    with pytest.raises(MethodUnknown):
        allowlist.allowed(key, "anything")
    assert read
    assert "anything" not in read


def test_an_allowed_method_can_be_called() -> None:
    allowlist = AllowList.from_setting([REPORT, f"{REPORT}.Inner"])
    functions = {entry.method: allowlist.function(entry) for entry in allowlist.entries()}
    assert functions["count"].target()(3) == 3
    assert functions["name"].target()("!") == "Report!"
    assert functions["cached"].target()(4) == 4
    assert functions["work"].target()() == "inner"
    assert list(functions["build"].signature.parameters) == ["month", "draft"]
    assert list(functions["name"].signature.parameters) == ["ending"]


# Loading


def test_nested_classes_are_found_by_their_dotted_name() -> None:
    allowlist = AllowList.from_setting({Report.Inner: ["work"]})
    assert allowlist.keys() == [f"{REPORT}.Inner"]
    assert allowlist.load(f"{REPORT}.Inner") is Report.Inner
    assert allowlist.find("Inner") == f"{REPORT}.Inner"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('no tea')", "RuntimeError: no tea"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("x = (", "SyntaxError"),
        ("other = 1", "has no attribute 'Report'"),
        ("Report = 5", "no class: it is a value of the type int"),
    ],
)
def test_an_import_that_fails_is_told_with_its_cause(package: Any, source: str, words: str) -> None:
    key = package("jobs", source + "\n") + ".Report"
    allowlist = allow("build", key=key)
    for attempt in (lambda: allowlist.load(key), lambda: allowlist.allowed(key, "build")):
        with pytest.raises(ClassUnknown, match=words) as caught:
            attempt()
        assert caught.value.argument == "job_class"
        assert caught.value.__cause__ is not None or source == "Report = 5"
    assert len(allowlist.problems()) == 1
    assert AllowList.from_setting([key]).entries() == []


@pytest.mark.parametrize("key", ["nowhere_at_all.Report", "nowhere_at_all.deep.Report", "tests.nowhere.deep.Report"])
def test_a_missing_module_is_named(key: str) -> None:
    with pytest.raises(ClassUnknown, match=r"No module named '(nowhere_at_all|tests.nowhere)"):
        allow("build", key=key).load(key)


def test_an_import_that_failed_is_tried_again(package: Any) -> None:
    key = package("jobs", "raise RuntimeError\n") + ".Report"
    allowlist = allow("build", key=key)
    with pytest.raises(ClassUnknown):
        allowlist.load(key)
    package("jobs", "class Report:\n    def build(self, now_it_works=True): ...\n")
    assert allowlist.allowed(key, "build").class_key == key


def test_keyboard_interrupts_pass(package: Any) -> None:
    key = package("jobs", "raise KeyboardInterrupt\n") + ".Report"
    with pytest.raises(KeyboardInterrupt):
        allow("build", key=key).load(key)


def test_refused_calls_are_not_remembered() -> None:
    allowlist = allow("build")
    state = [len(value) for value in vars(allowlist).values()]
    for number in range(50):
        with pytest.raises(ClassNotAllowed):
            allowlist.find(f"Name{number}")
    assert [len(value) for value in vars(allowlist).values()] == state
    assert AllowList.from_setting([Parameters]).find(Parameters) == f"{HERE}.Parameters"


# Limits


def test_limits_belong_to_a_method_and_are_part_of_the_text_that_tells_generations_apart() -> None:
    written = {"cpu": 60, "memory": "512 MiB", "open_files": 64, "output": "1 MiB", "nice": 5}
    allowlist = AllowList.from_setting({REPORT: {"methods": {"build": written, "count": {}}}})
    assert allowlist.limits(REPORT, "build") == Limits(60, 512 * 2**20, 64, 2**20, 5)
    assert (
        allowlist.limits(REPORT, "count")
        == allowlist.limits(REPORT, "gone")
        == allowlist.limits("a.B", "c")
        == Limits()
    )
    texts = {
        AllowList.from_setting({REPORT: {"methods": {"build": {name: value}}}}).text()
        for name, value in written.items()
    }
    assert len(texts | {allow("build").text()}) == len(written) + 1


def test_a_list_of_classes_sets_no_limits() -> None:
    assert AllowList.from_setting([REPORT]).limits(REPORT, "build") == Limits()


def test_a_bad_limit_is_refused_with_its_place_value_and_range() -> None:
    with pytest.raises(ConfigurationError, match=f"{SETTING}: {REPORT}.build: memory is '1 MiB'; it must be 16 MiB to"):
        AllowList.from_setting({REPORT: {"methods": {"build": {"memory": "1 MiB"}}}})
