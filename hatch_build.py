"""Compiles the modules of the fold while the distribution is built (docs/decisions/0017-compiled.md).

They are ordinary Python and run as they are written, too, in twice the time: that is what happens where there is no C
compiler, and with CALLFOLD_INTERPRETED=1. ``callfold doctor`` says which it is.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

LIBRARY = "callfold"
"""``callfold__mypyc`` has the code of all modules; what lies beside each of them only leads there."""


class Compiled(BuildHookInterface[Any]):
    """Hook of hatchling; its option ``modules`` lists the files to be compiled."""

    def clean(self, versions: list[str]) -> None:
        """Take away what was compiled before: it would be imported in the place of the source."""
        del versions
        for library in self._libraries():
            library.unlink()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in place, for editable installations and wheels alike."""
        self.clean([version])
        if os.environ.get("CALLFOLD_INTERPRETED"):
            return
        done = subprocess.run(  # noqa: S603 - itself
            [sys.executable, __file__, *self.config["modules"]],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            self.clean([version])
            self.app.display_warning(f"calls/ was not compiled, and will run as it is:\n{done.stdout}")
            return
        build_data["infer_tag"], build_data["pure_python"] = True, False
        for library in self._libraries():
            path = library.relative_to(self.root).as_posix()
            build_data["force_include"][str(library)] = path

    def _libraries(self) -> list[Path]:
        root = Path(self.root)
        found = [*root.glob(f"{LIBRARY}__mypyc.*")]
        for module in map(Path, self.config["modules"]):
            found += [
                path for path in (root / module.parent).glob(f"{module.stem}.*") if path.suffix != ".py"
            ]
        return found


def main(modules: list[str]) -> None:
    """Compile these files of the working directory, each library beside its source."""
    with TemporaryDirectory() as folder:
        extensions = mypycify(modules, opt_level="2", debug_level="0", target_dir=folder, group_name=LIBRARY)
        command = build_ext(Distribution({"name": "callfold", "ext_modules": extensions}))
        command.inplace, command.build_lib, command.build_temp = True, folder, folder
        command.ensure_finalized()
        command.run()


if __name__ == "__main__":
    main(sys.argv[1:])
