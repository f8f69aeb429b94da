"""Builds the library once for each kind of processor; the wheel holds them all and needs no compiler where it is installed."""

import os
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
KINDS = {"avx512": ["-march=x86-64-v4", "-mavx512vnni"], "avx2": ["-march=x86-64-v3"]}


class Build(build_py):
    """Compiles beside copying the Python file."""

    def run(self) -> None:
        """Leave `lib/KIND.so` in the package."""
        super().run()
        to = Path(self.build_lib) / "sightline_native"
        compiler = os.environ.get("CXX", "c++")
        for kind, flags in KINDS.items():
            probe = to / f"{kind}.o"
            common = ["-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-maybe-uninitialized"]
            needs = [f"-DNEEDS_{kind.upper()}"]
            run([compiler, *common, *needs, "-c", HERE / "src/probe.cpp", "-o", probe])
            made = ["-std=c++17", "-shared", HERE / "src/api.cpp", probe, "-o", to / f"{kind}.so", "-pthread"]
            run([compiler, *common, *flags, *made, "-static-libgcc", "-static-libstdc++"])
            probe.unlink()


def run(command: list[str | Path]) -> None:
    """Run a command. Raises SystemExit with the command if it fails."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"{' '.join(map(str, command))}\nfailed: {error}. A C++17 compiler is needed, as g++ or clang++."
        ) from None


class Wheel(bdist_wheel):
    """For this platform, and any Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """The library does not know Python."""
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    """Not pure Python."""

    def has_ext_modules(self) -> bool:
        """So that the wheel is named after the platform."""
        return True


setup(cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=Binary)
