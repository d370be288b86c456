"""Which stack a system gets, and that the locks hold what pyproject.toml asks for."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PYPROJECT["project"]["dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
LOCKS = {
    "requirements.txt": RUNTIME,
    "requirements-dev.txt": GROUPS["dev"],
    "requirements-2024.txt": RUNTIME,
    "requirements-2024-dev.txt": GROUPS["dev"],
    "requirements-bqemulator.txt": GROUPS["bigquery-emulator"],
}


def pick(folder: Path, glibc: str, pythons: dict[str, str], *argv: str) -> tuple[int, str, str]:
    """What stack.sh says on a system with a glibc and some interpreters, {name: version}."""
    stand_ins = {"getconf": f"glibc {glibc}", "uname": "x86_64", **pythons}
    for name, answer in stand_ins.items():
        (folder / name).write_text(f"#!/bin/sh\necho {answer}\n")
        (folder / name).chmod(0o755)
    for name in ("cut", "sort", "head", "sed", "sh"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        [ROOT / "stack.sh", *argv],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("glibc", "pythons", "argv", "said"),
    [
        ("2.41", {"python3.13": "3.13", "python3.11": "3.11"}, (), "python3.13 requirements 3.13"),
        ("2.39", {"python3.12": "3.12", "python3.11": "3.11"}, (), "python3.12 requirements 3.12"),
        ("2.41", {"python3": "3.12", "python3.14": "3.14"}, (), "python3 requirements 3.12"),
        ("2.38", {"python3.13": "3.13", "python3.11": "3.11"}, (),
         "python3.11 requirements-2024 3.11"),
        ("2.9", {"python3": "3.11"}, (), "python3 requirements-2024 3.11"),
        ("2.41", {"python3.13": "3.13", "mine": "3.11"}, ("mine",), "mine requirements 3.11"),
    ],
)  # fmt: skip
def test_a_system_gets_the_stack_that_it_can_run(
    tmp_path: Path, glibc: str, pythons: dict[str, str], argv: tuple[str, ...], said: str
) -> None:
    assert pick(tmp_path, glibc, pythons, *argv) == (0, f"{said} {glibc}\n", "")


@pytest.mark.parametrize(
    ("glibc", "pythons", "argv", "why"),
    [
        ("2.36", {"python3": "3.13"}, (), "needs Python 3.11; python3 is 3.13"),
        ("2.41", {"python3": "3.14"}, (), "needs Python 3.13 or 3.12 or 3.11; python3 is 3.14"),
        ("2.36", {"python3.11": "3.11", "mine": "3.12"}, ("mine",), "3.11; mine is 3.12"),
        ("2.41", {"python3.13": "3.13"}, ("/nowhere",), "/nowhere is not found"),
    ],
)
def test_a_system_that_can_run_none_is_told_why(
    tmp_path: Path, glibc: str, pythons: dict[str, str], argv: tuple[str, ...], why: str
) -> None:
    code, said, told = pick(tmp_path, glibc, pythons, *argv)
    assert (code, said) == (1, "")
    assert told.startswith(f"stack.sh: with glibc {glibc} the stack is requirements")
    assert f"{why}; install one, and name it: make PYTHON=" in told


def pinned(lock: str) -> dict[str, set[str]]:
    """{normal name: versions}; more than one where Python's version decides."""
    found: dict[str, set[str]] = {}
    for line in re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / lock).read_text(), re.M):
        requirement = Requirement(line)
        (version,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(version.version)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_is_asked_for(lock: str) -> None:
    versions = pinned(lock)
    for text in LOCKS[lock]:
        requirement = Requirement(text)
        found = versions[canonicalize_name(requirement.name)]
        assert all(version in requirement.specifier for version in found), text
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / lock).read_text(), flags=re.M)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("stack", ["requirements", "requirements-2024"])
def test_the_tools_of_a_stack_agree_with_it(stack: str) -> None:
    runtime, tools = pinned(f"{stack}.txt"), pinned(f"{stack}-dev.txt")
    for name in runtime.keys() & tools.keys():
        assert tools[name] <= runtime[name], name


def test_the_stacks_are_the_two_of_tfdv() -> None:
    lock = {name: pinned(name) for name in ("requirements.txt", "requirements-2024.txt")}
    tfdv = "tensorflow-data-validation"
    assert lock["requirements.txt"][tfdv] == {"1.21.0"}
    assert lock["requirements-2024.txt"][tfdv] == {"1.16.1"}


def test_make_says_which_stack_it_takes() -> None:
    without_make = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "stack"], cwd=ROOT, capture_output=True, text=True, check=True, env=without_make
    )
    assert re.fullmatch(
        r"stack: requirements(-2024)?\.txt on \S+ \(3\.1[123], glibc 2\.\d+\)\n", done.stdout
    )
