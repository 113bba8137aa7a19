"""A small file system of its own for a broker or ClickHouse, which can be full at once: a tmpfs that is resized.

Mounting takes the right to mount; without it the faults that need a full disk cannot be run, and say so.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MB = 2048
"""Never reached: a tmpfs takes the memory of what is in it."""


class Disk:
    """The file system mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """No space left, for whoever writes from now on."""
        self._resize(self.used_kb())

    def free(self) -> None:
        """As before `fill`."""
        self._resize(SIZE_MB * 1024)

    def used_kb(self) -> int:
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024

    def _resize(self, kb: int) -> None:
        for more in range(0, 65_536, 256):  # its owner goes on writing meanwhile, and it cannot be less than used
            if _run("mount", "-o", f"remount,size={kb + more}k", str(self.folder)):
                return
        raise RuntimeError(f"{self.folder} cannot be resized to {kb} KiB")


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk at `folder`, which is made; raises PermissionError where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "chargeline-chaos", str(folder)):
        raise PermissionError("the faults broker-full and clickhouse-full mount small file systems: run them as root")
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own command
