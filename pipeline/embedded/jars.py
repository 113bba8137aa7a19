"""Kafka's jars: resolved from Maven coordinates by jgo, pinned by hash, kept inside the virtual environment.

`kafka_jars.sha256` is the lock: one `sha256  group:artifact:version` a line. Whatever is not in it, or differs from it,
is refused. `python -m pipeline.embedded.jars install` fetches what is missing and deletes what was locked before;
`... lock` writes the file anew after a change of COORDINATES or UNUSED.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import Unavailable, WrongUsage

# kafka_2.13:4.4.0 does not resolve: its kafka-tools-api:4.4.0 was never published.
COORDINATES = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
UNUSED = frozenset({
    "log4j-core",  # slf4j-simple logs; Kafka only asks whether it is there, of log4j-api
    "jackson-dataformat-yaml", "snakeyaml",  # log4j's configuration
    "commons-beanutils", "commons-collections", "commons-digester", "commons-logging",  # of validators of web forms
    "jackson-dataformat-csv", "jackson-datatype-jdk8", "kafka-tools-api",  # no class of the others names them
    "jspecify", "scala-reflect",  # annotations, and macros of the compiler
})  # fmt: skip
"""Artifacts that COORDINATES bring and the broker never loads: what is not there has no hole."""
LOCK = Path(__file__).with_name("kafka_jars.sha256")
FOLDER = Path(sys.prefix) / "share" / "chargeline" / "kafka"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.sha256}  {self.group}:{self.artifact}:{self.version}"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """Every jar that the broker needs; raises WrongUsage naming the first line that is not one."""
    jars = []
    for number, line in enumerate(lock.read_text("utf-8").splitlines(), start=1):
        match line.split():
            case [sha256, coordinate] if len(sha256) == 64 and coordinate.count(":") == 2:
                group, artifact, version = coordinate.split(":")
                jars.append(Jar(sha256=sha256, group=group, artifact=artifact, version=version))
            case _:
                raise WrongUsage(f"{lock.name}, line {number}: expected `sha256  group:artifact:version`")
    return jars


def classpath(folder: Path = FOLDER) -> list[Path]:
    """The locked jars in `folder`; raises Unavailable unless it holds exactly these, byte for byte."""
    jars = read_lock()
    expected = {jar.file_name: jar for jar in jars}
    found = {path.name for path in folder.glob("*.jar")}
    if missing := sorted(expected.keys() - found):
        raise Unavailable(f"Kafka is not installed: {len(missing)} jars are missing in {folder}; run `make install`")
    if extra := sorted(found - expected.keys()):
        raise Unavailable(f"{folder / extra[0]} is not in {LOCK.name}; delete it and run `make install`")
    paths = [folder / name for name in sorted(expected)]
    for path in paths:
        _check(path, expected[path.name])
    return paths


def install(folder: Path = FOLDER) -> int:
    """Fetch the jars that `folder` lacks; returns how many. Raises Unavailable without network or on a wrong hash."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.jar"):
        if path.name.rpartition("-")[0] in UNUSED:  # locked by a former version of this file
            path.unlink()
    wanted = [jar for jar in read_lock() if not (folder / jar.file_name).exists()]
    if wanted:
        with tempfile.TemporaryDirectory(dir=folder) as download, ThreadPoolExecutor(8) as threads:
            for jar, path in zip(wanted, threads.map(_Repository(Path(download)).fetch, wanted), strict=True):
                _check(path, jar)
                path.replace(folder / jar.file_name)
    classpath(folder)
    return len(wanted)


def lock() -> list[Jar]:
    """What COORDINATES resolve to today, with the hashes of what was downloaded."""
    with tempfile.TemporaryDirectory() as download:
        return sorted(_Repository(Path(download)).resolve(COORDINATES), key=lambda jar: (jar.group, jar.artifact))


class _Repository:
    """jgo with a Maven cache of its own, so that nothing is read from or written to the home folder.

    Only jgo's resolver is used: its environments look for a JDK (JAVA_HOME, PATH, or a download), which a machine
    with only Python does not have.
    """

    def __init__(self, cache: Path) -> None:
        from jgo.maven import MavenContext  # 0.3 s that a broker which is installed already need not spend

        self._maven = MavenContext(repo_cache=cache, timeout=60)

    def fetch(self, jar: Jar) -> Path:
        component = self._maven.project(jar.group, jar.artifact).at_version(jar.version)
        try:
            return Path(component.artifact().resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; RuntimeError: in no repository
            raise Unavailable(f"cannot download {jar.group}:{jar.artifact}:{jar.version}: {error}") from error

    def resolve(self, coordinates: tuple[str, ...]) -> list[Jar]:
        from jgo.parse import Coordinate

        roots = [
            self._maven.create_dependency(replace(Coordinate.parse(text), scope="compile")) for text in coordinates
        ]
        _, transitive = self._maven.resolver.resolve(roots)
        needed = roots + [each for each in transitive if each.scope in ("compile", "runtime")]
        found = [
            Jar(sha256="", group=d.groupId, artifact=d.artifactId, version=d.version)
            for d in needed
            if d.artifactId not in UNUSED
        ]
        return [replace(jar, sha256=_sha256(self.fetch(jar))) for jar in found]


def _check(path: Path, jar: Jar) -> None:
    if (found := _sha256(path)) != jar.sha256:
        raise Unavailable(
            f"{path} is not the pinned {jar.group}:{jar.artifact}:{jar.version}: sha256 is {found}, "
            f"expected {jar.sha256}; delete it and run `make install`"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["install"]:
            try:
                count = install()
            except (Unavailable, WrongUsage) as error:
                print(error, file=sys.stderr)
                return 1
            print(f"Kafka: {count} jars downloaded to {FOLDER}" if count else "Kafka: all jars present")
            return 0
        case ["lock"]:
            LOCK.write_text("".join(f"{jar}\n" for jar in lock()), "utf-8")
            shutil.rmtree(FOLDER, ignore_errors=True)
            return 0
        case _:
            print("usage: python -m pipeline.embedded.jars install|lock", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
