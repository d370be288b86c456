"""What tests rely on: quick pipelines are the same pipelines, busy processes come and go."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.transforms.core import CallableWrapperDoFn
from apache_beam.transforms.userstate import BagStateSpec

from support import busy, quick_beam
from support.waiting import until

STATE = BagStateSpec("seen", BytesCoder())
PARAM = beam.DoFn.StateParam(STATE)


class Stateful(beam.DoFn):
    def process(self, element: Any, _seen: Any = PARAM) -> Iterator[Any]:
        yield element


class Plain(beam.DoFn):
    def process(self, element: Any, _timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        yield element


class Tool:
    def each(self, element: Any, _seen: Any = PARAM) -> Any:
        return [element]


@pytest.mark.parametrize(
    "make",
    [
        Stateful,
        Plain,
        lambda: CallableWrapperDoFn(lambda element: [element]),
        lambda: CallableWrapperDoFn(lambda element, _=PARAM: [element]),
        lambda: CallableWrapperDoFn(Tool().each),
    ],
)
def test_states_of_functions_are_found_as_beam_finds_them(make: Callable[[], beam.DoFn]) -> None:
    for _ in range(2):
        assert quick_beam._quick_specs(make()) == quick_beam._get_dofn_specs(make())
    assert quick_beam._quick_specs(Stateful()) == ({STATE}, set())  # type: ignore[no-untyped-call]  # DoFn has no types


def test_views_of_options_share_their_values_as_ever() -> None:
    quick_beam.remember()
    options, other = PipelineOptions(["--streaming"]), PipelineOptions([])
    options.view_as(StandardOptions).runner = "FnApiRunner"
    assert options.view_as(StandardOptions).streaming is True
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    assert other.view_as(StandardOptions).streaming is False


def test_busy_processes_live_as_long_as_the_command(tmp_path: Path) -> None:
    """Children of the tool: the busy ones and the command, which writes their ids."""
    code = (
        "import os, sys; parent = os.getppid();"
        "found = open(f'/proc/{parent}/task/{parent}/children').read();"
        "open(sys.argv[1], 'w').write(found); sys.exit(3)"
    )
    command = [sys.executable, "-S", "-c", code, str(tmp_path / "children")]
    done = subprocess.run([sys.executable, busy.__file__, "1", *command], check=False)
    assert done.returncode == 3
    children = (tmp_path / "children").read_text().split()
    assert len(children) == len(os.sched_getaffinity(0)) + 1
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
