"""A job that measures a folder: how many files, of which types, which are the largest."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bgapp import current_job
from bgapp.errors import shown

MAX_LARGEST = 100
MAX_TYPES = 50
FOLDERS_PER_REPORT = 500
JUNCTION = 0xA0000003  # a Windows folder that points elsewhere; os.DirEntry knows it only since Python 3.12


class FolderScan:
    """Measures folders on the machine that runs the job."""

    def scan(self, folder: str, largest: int = 10) -> dict[str, Any]:
        """Count the files and bytes in a folder and everything below it.

        folder: path of the folder.
        largest: how many of the largest files to name, 0 to 100.

        Links are counted, never followed; what cannot be read is counted and passed over. Sizes are in bytes,
        as the files' own length.
        Raises ValueError if `largest` is out of its range, NotADirectoryError if there is no such folder,
        and PermissionError if the folder itself cannot be read.
        """
        if not 0 <= largest <= MAX_LARGEST:
            raise ValueError(f"largest must be 0 to {MAX_LARGEST}, not {shown(largest)}")
        if not os.path.isdir(folder):
            raise NotADirectoryError(f"{shown(folder)} is not a folder on this machine: give the path of one")
        tally = Tally(folder, largest)
        top_level = sorted(tally.add_entries(folder))
        for done, path in enumerate(top_level, 1):
            files, size = tally.files, tally.bytes
            tally.add_tree(path)
            name = shown(os.path.basename(path))
            print(f"{name}: {tally.files - files} files, {tally.bytes - size} bytes")
            current_job.progress(done / len(top_level), f"{tally.files} files")
        return tally.as_dict()


@dataclass
class Tally:
    """What was counted so far below `root`; names the `keep` largest files."""

    root: str
    keep: int
    files: int = 0
    bytes: int = 0
    folders: int = 0
    links: int = 0
    unreadable: int = 0
    files_by_type: Counter[str] = field(default_factory=Counter)
    bytes_by_type: Counter[str] = field(default_factory=Counter)
    largest: list[tuple[int, str]] = field(default_factory=list)  # a heap, the smallest of them first

    def add_tree(self, path: str) -> None:
        """Count everything in the folder `path` and below it."""
        waiting = [path]  # a list, not recursion: folders may lie deeper than Python's stack
        visited = 0
        while waiting:
            try:
                waiting.extend(self.add_entries(waiting.pop()))
            except OSError:
                self.unreadable += 1
            visited += 1
            if visited % FOLDERS_PER_REPORT == 0:
                current_job.progress(message=f"{self.files} files")

    def add_entries(self, path: str) -> list[str]:
        """Count what lies directly in the folder `path`; return the paths of its folders."""
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if self._is_folder_after_counting(entry)]

    def _is_folder_after_counting(self, entry: os.DirEntry[str]) -> bool:
        try:
            details = entry.stat(follow_symlinks=False)
            if entry.is_symlink() or getattr(details, "st_reparse_tag", 0) == JUNCTION:
                self.links += 1
            elif entry.is_dir(follow_symlinks=False):
                self.folders += 1
                return True
            elif entry.is_file(follow_symlinks=False):
                self._add_file(entry, details.st_size)
        except OSError:  # gone since it was listed, or its folder may be listed but not entered
            self.unreadable += 1
        return False

    def _add_file(self, entry: os.DirEntry[str], size: int) -> None:
        suffix = os.path.splitext(entry.name)[1].lower() or "(none)"
        self.files += 1
        self.bytes += size
        self.files_by_type[suffix] += 1
        self.bytes_by_type[suffix] += size
        heapq.heappush(self.largest, (size, entry.path))
        if len(self.largest) > self.keep:
            heapq.heappop(self.largest)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values; of more than 50 types, those with fewer bytes as "(other)"."""
        ranked = [suffix for suffix, _ in self.bytes_by_type.most_common()]
        types = {
            _text(suffix): {"files": self.files_by_type[suffix], "bytes": self.bytes_by_type[suffix]}
            for suffix in ranked[:MAX_TYPES]
        }
        if rest := ranked[MAX_TYPES:]:
            types["(other)"] = {
                "files": sum(self.files_by_type[suffix] for suffix in rest),
                "bytes": sum(self.bytes_by_type[suffix] for suffix in rest),
            }
        return {
            "folder": _text(self.root),
            "files": self.files,
            "bytes": self.bytes,
            "folders": self.folders,
            "links": self.links,
            "unreadable": self.unreadable,
            "types": types,
            "largest": [
                {"path": _text(os.path.relpath(path, self.root)), "bytes": size}
                for size, path in sorted(self.largest, reverse=True)
            ],
        }


def _text(name: str) -> str:
    """Return a file name as plain text: a name need not be UTF-8, a JSON value must be."""
    return os.fsencode(name).decode("utf-8", "replace")
