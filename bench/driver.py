"""The command: measures row after row, systems in turn in each round, and reports."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import plot, report
from bench.figures import Rounds
from bench.place import NotMeasured
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, end_servers, why_missing

ROWS = ("kill", "throughput", "start", "enqueue", "bulk", "cold", "idle", "scale", "slots", "burst", "cores")
REPEAT = 5


def row_of(name: str) -> Row:
    """Return a row by its name."""
    found: Row = import_module(f"bench.rows.{name}").ROW
    return found


class Measured:
    """What came of one row: each system's numbers by round, and why some have none."""

    def __init__(self, row: Row, mode: Mode, only: list[str]) -> None:
        self.row = row
        self.mode = mode
        names = row.systems if mode.short else (*row.systems, *row.more)
        self.rounds: dict[str, Rounds] = {name: [] for name in names if not only or name in only}
        self.missing: dict[str, str] = {}
        for name in list(self.rounds):
            why = why_missing(SYSTEMS[name]) if name in SYSTEMS else None
            if why is not None:
                self._drop(name, why)

    def _drop(self, name: str, why: str) -> None:
        self.missing[name] = why
        del self.rounds[name]

    def measure(self, repeat: int) -> None:
        """Measure every system once a round, in an order of its own: what drifts then meets all of them alike."""
        for number in range(1 if self.row.together else repeat):
            names = list(self.rounds)
            random.Random(number).shuffle(names)
            with ThreadPoolExecutor(len(names) if self.row.together else 1) as pool:
                found = dict(zip(names, pool.map(self._once, names), strict=True))
            for name, numbers in found.items():
                if isinstance(numbers, str):
                    self._drop(name, numbers)
                else:
                    self.rounds[name].append(numbers)

    def _once(self, name: str) -> Numbers | str:
        """Return one system's numbers, or why there are none."""
        try:
            return self.row.measure(name, self.mode)
        except NotMeasured as error:
            return str(error)


def main(words: list[str]) -> int:
    options = parsed(words)
    if not os.path.exists("/proc/self/environ"):
        print("The bench finds and kills processes by /proc, which only Linux has.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    mode = Mode(short=options.short, long=options.long)
    repeat = options.repeat or (1 if mode.short else REPEAT)
    facts = report.machine()
    print(f"{report.headline(facts)}\n")
    results: dict[str, Measured] = {}
    began = time.monotonic()
    try:
        for name in options.rows or ROWS:
            results[name] = measured = Measured(row_of(name), mode, options.system)
            started = time.monotonic()
            measured.measure(repeat)
            print(report.table(measured.row, measured.rounds, measured.missing))
            print(
                f"\n[{time.monotonic() - started:.0f} s, rounds: {1 if measured.row.together else repeat}]\n",
                flush=True,
            )
    finally:
        end_servers()
    print(f"All took {time.monotonic() - began:.0f} s.")
    if options.json:
        options.json.write_text(json.dumps(as_json(facts, mode, repeat, results), indent=1) + "\n", encoding="utf-8")
    if options.plot:
        options.plot.write_text(plot.drawn({name: one.rounds for name, one in results.items()}), encoding="utf-8")
    return 0


def as_json(facts: dict[str, Any], mode: Mode, repeat: int, results: dict[str, Measured]) -> dict[str, Any]:
    """Return everything that was found, each number of each round."""
    rows = {
        name: {"says": one.row.says, "metrics": one.row.metrics, "rounds": one.rounds, "not_measured": one.missing}
        for name, one in results.items()
    }
    return {"machine": facts, "short": mode.short, "long": mode.long, "repeat": repeat, "rows": rows}


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 bench", description="Measure bgapp side by side with its peers.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"what to measure (default: all): {', '.join(ROWS)}")
    parser.add_argument("--short", action="store_true", help="less of everything, one round: under two minutes")
    parser.add_argument("--long", action="store_true", help="also the sizes that take minutes")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"rounds (default: {REPEAT}, in short mode 1)")
    parser.add_argument("--system", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result there, as SVG")
    options = parser.parse_args(words)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; rows are {', '.join(ROWS)}")
    if options.repeat is not None and options.repeat < 1:
        parser.error(f"--repeat is {options.repeat}; it must be 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
