"""Flags and TOML files."""

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import cli
from beam_jobs.cli import VERBS
from beam_jobs.commands import command_line
from beam_jobs.config import flags
from beam_jobs.config.verbs import Gate, MonthlyConfig, WarehouseConfig
from beam_jobs.errors import UsageError

REQUIRED = {"month": "2026-10", "ads": ("a.csv",), "model": "m", "schema": "s", "runs": "r",
            "warehouse": "duckdb:w"}  # fmt: skip
ROOT = Path(__file__).parents[2]
KNOWN = flags.names_in_file(verb.config for verb in VERBS.values()) | set(VERBS)


def resolve(
    given: dict[str, Any], settings: dict[str, Any] | None = None, folder: str = ""
) -> MonthlyConfig:
    found: MonthlyConfig = flags.resolve(
        MonthlyConfig, "monthly", given, (settings or {}, folder), KNOWN
    )
    return found


def test_the_command_line_wins_over_the_verbs_table_over_the_top_level() -> None:
    file = {"key": "top", "label": "top", "monthly": {"key": "table", "label": "table"}}
    config = resolve(REQUIRED | {"key": "line"}, file)
    assert (config.key, config.label) == ("line", "table")
    assert resolve(REQUIRED, {"key": "top"}).key == "top"


def test_the_environment_gives_the_warehouse_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_JOBS_WAREHOUSE", "duckdb:env")
    assert flags.resolve(WarehouseConfig, "runs", {}, ({}, ""), KNOWN).warehouse == "duckdb:env"
    file = ({"warehouse": "duckdb:file"}, "")
    assert flags.resolve(WarehouseConfig, "runs", {}, file, KNOWN).warehouse == "duckdb:file"


def test_paths_in_a_file_start_from_its_folder() -> None:
    file = {"ads": ["ads/{month}/*.csv", "gs://bucket/x.csv"], "model": "/models/a",
            "warehouse": "duckdb:w.duckdb", "key": "ad_id"}  # fmt: skip
    given = {name: REQUIRED[name] for name in ("month", "schema", "runs")}
    config = resolve(given, file, "/work")
    assert config.ads == ("/work/ads/{month}/*.csv", "gs://bucket/x.csv")
    assert (config.model, config.warehouse) == ("/models/a", "duckdb:/work/w.duckdb")
    assert (config.key, config.schema) == ("ad_id", "s")


PATHS = ("DIR", "FILE", "MODEL", "PATTERN", "PREFIX", "URL")
"""Types of values, as help texts call them, that name a place."""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_flag_that_names_a_place_is_one_in_a_file(verb: str) -> None:
    """The kinds of values that a file may have, and what each becomes beside another folder."""
    for name, about in flags.flags_of(VERBS[verb].config).items():
        if not about.in_file:
            continue
        assert about.is_path == (about.metavar in PATHS), name
        if not about.is_path:
            continue
        given = {
            "place": "/w [1]/place",
            "../place": "/place",
            "/place": "/place",
            "gs://bucket/place": "gs://bucket/place",
        }
        if about.path_scheme:
            given = {"duckdb:" + value: "duckdb:" + there for value, there in given.items()}
            given |= {"bigquery:p.d": "bigquery:p.d", "duckdb:gs://b": "duckdb:gs://b"}
            given.pop("duckdb:gs://bucket/place")
        if about.is_pattern:
            given |= {"place": "/w [[]1]/place", "a[b]*": "/w [[]1]/a[b]*"}
        for value, there in given.items():
            assert flags._rooted(value, about, "/w [1]") == there, name


@pytest.mark.usefixtures("tmp_path")
def test_a_webhook_s_file_lies_beside_the_configuration() -> None:
    config = resolve(REQUIRED, {"notify": "secrets/hook.txt"}, "/work")
    assert config.notify == "/work/secrets/hook.txt"
    url = "https://hooks.slack.com/services/T0/B0/x"
    assert resolve(REQUIRED, {"notify": url}, "/work").notify == url
    assert resolve(REQUIRED, {"notify": "hook.txt"}, "gs://b/c").notify == "gs://b/c/hook.txt"


def test_only_what_a_person_types_reads_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEAM_JOBS_WAREHOUSE", raising=False)
    (tmp_path / "beam-jobs.toml").write_text('warehouse = "duckdb:here.duckdb"\n')
    (tmp_path / "other.toml").write_text('warehouse = "duckdb:there.duckdb"\n')
    assert cli.main(["runs", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    with pytest.raises(UsageError, match="runs: --warehouse is required"):
        command_line.run(["runs"], VERBS)
    assert command_line.run(["runs", "--config=other.toml"], VERBS) == 0


def test_a_benchmark_runs_where_no_configuration_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAM_JOBS_WAREHOUSE", "duckdb:mine.duckdb")
    (tmp_path / "beam-jobs.toml").write_text("this = is wrong")
    program = (
        "import os, benchmarks; assert os.listdir() == [];"
        "assert not [name for name in os.environ if 'BEAM_JOBS_' in name]"
    )
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.timing import run

    assert run("-c", program, is_timed=False).whole > 0


def test_whole_numbers_in_a_file() -> None:
    config = resolve(REQUIRED, {"image_timeout": 5, "image-max-bytes": 9, "images": "b"}, "/work")
    assert (config.image_timeout, config.image_max_bytes, config.images) == (5, 9, "/work/b")
    assert config.image_max_pixels == 25_000_000


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"polcy": "x"}, "unknown key 'polcy'; did you mean policy?"),
        ({"monthly": {"keey": "x"}}, r"in \[monthly\]: unknown key 'keey'; did you mean key?"),
        ({"key": 3}, "key must be text, not 3"),
        ({"image_max_bytes": "9"}, "image_max_bytes must be a whole number, not '9'"),
        ({"image_timeout": True}, "image_timeout must be a whole number, not True"),
        ({"slice": [1]}, "slice must be text or a list of texts"),
        ({"monthly": {"force": True}}, "--force is given on the command line only"),
        ({"force": True}, "--force is given on the command line only"),
        ({"plan": True}, "--plan is given on the command line only"),
        ({"yes": True}, "unknown key 'yes'"),
    ],
)
def test_mistakes_in_the_file(file: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(REQUIRED, file)


def test_a_choice_is_the_same_from_the_line_the_file_and_the_default() -> None:
    assert resolve(REQUIRED).gate is Gate.HOLD
    assert resolve(REQUIRED | {"gate": "PUBLISH"}).gate is Gate.PUBLISH
    assert resolve(REQUIRED, {"gate": "HOLD_ALWAYS"}).gate is Gate.HOLD_ALWAYS
    for line, file in ({"gate": "PUBLISHED"}, {}), ({}, {"gate": "PUBLISHED"}):
        with pytest.raises(
            UsageError, match="--gate PUBLISHED: is none of HOLD, PUBLISH, HOLD_ALW"
        ):
            resolve(REQUIRED | line, file)


def test_a_pattern_holds_for_the_line_and_the_file() -> None:
    with pytest.raises(UsageError, match="--month 2026-13: is not a month; expected YYYY-MM"):
        resolve(REQUIRED | {"month": "2026-13"})
    with pytest.raises(UsageError, match="--month october: is not a month; expected YYYY-MM"):
        resolve({k: v for k, v in REQUIRED.items() if k != "month"}, {"month": "october"})


def test_a_flag_may_have_the_name_of_a_verb() -> None:
    settings = {"runs": "runs", "warehouse": "duckdb:w"}
    assert flags.resolve(WarehouseConfig, "runs", {}, (settings, ""), KNOWN).warehouse == "duckdb:w"
    assert resolve({k: v for k, v in REQUIRED.items() if k != "runs"}, settings).runs == "runs"


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_flag_is_named_with_an_example(name: str) -> None:
    given = {key: value for key, value in REQUIRED.items() if key != name}
    with pytest.raises(UsageError, match=f"--{name} is required, for example --{name} "):
        resolve(given)


def test_every_flag_explains_itself() -> None:
    for verb in VERBS.values():
        # Wide: where lines wrap, argparse cuts the longest names at their hyphens.
        parser = argparse.ArgumentParser(
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=1_000)
        )
        flags.add_flags(parser, verb.config)
        text = " ".join(parser.format_help().split())
        for name, about in flags.flags_of(verb.config).items():
            assert flags.flag_name(name) in text
            if about.example:
                assert f"example: {flags.flag_name(name)}" in text
                assert "required" in text or "default:" in text


def test_help_of_every_verb_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("", *VERBS):
        with pytest.raises(SystemExit) as stop:
            command_line.make_parser(VERBS).parse_args([*([verb] if verb else []), "--help"])
        assert stop.value.code == 0
        assert "usage: beam-jobs" in capsys.readouterr().out


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = os.path.join(tmp_path, "c.toml")
    with open(path, "w") as stream:
        stream.write("key = = 3")
    with pytest.raises(UsageError, match=r"c\.toml: is not TOML: .*line 1"):
        flags.load_file(path)
    with pytest.raises(UsageError, match="cannot be read"):
        flags.load_file(path + ".absent")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--modle=x"], "unknown flag --modle; did you mean --model"),
        (["--runer=DirectRunner"], "unknown flag --runer; did you mean --runner"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_flags_that_nobody_knows_are_refused(extra: list[str], message: str) -> None:
    ours = [flags.flag_name(name) for name in flags.flags_of(MonthlyConfig)]
    with pytest.raises(UsageError, match=message):
        flags.check_extra(extra, ours, takes_beam_flags=True)
    flags.check_extra(["--runner=DirectRunner"], ours, takes_beam_flags=True)
