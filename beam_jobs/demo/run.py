"""The verb `demo`: data, model, baseline, the monthly job on three months, and the queue job."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import text_format

from beam_jobs import storage, terminal
from beam_jobs.commands.baseline import (
    SCHEMA_FILE,
    STATISTICS_FILE,
    infer_schema_file,
    run_baseline,
)
from beam_jobs.commands.execute import execute
from beam_jobs.config.flags import DEFAULT_CONFIG_FILE
from beam_jobs.config.verbs import BaselineConfig, DemoConfig, MonthlyConfig
from beam_jobs.demo.data import KEY, LABEL, MONTHS, RANGES, make_ads
from beam_jobs.demo.defects import DEFECTS, Defect
from beam_jobs.demo.queue import make_queue, run_queue
from beam_jobs.errors import UsageError
from beam_jobs.plan import plan_monthly
from beam_jobs.runs.summary import RunSummary
from beam_jobs.schema import load_schema
from beam_jobs.terminal.summary import print_summary

_MADE_BY = "# Written by `beam-jobs demo`; paths start from this file's folder.\n"


def run_demo(config: DemoConfig, beam_args: Sequence[str]) -> int:
    """Makes everything in a folder, runs August to October 2026 on it, and answers a queue."""
    folder = config.dir
    if not storage.is_local(folder):
        raise UsageError(f"--dir {folder}: the demo wants a local folder")
    storage.check_writable(folder, "--dir")
    terminal.print_note(f"making {len(MONTHS)} months of {config.rows:,} ads each in {folder}")
    made = make_ads(folder, config.rows)
    terminal.print_note("training a small model")
    from beam_jobs.demo.model import train

    trained = train(made.training, storage.join(folder, "models", "ads"), banners=made.banners)
    terminal.print_note(f"trained on {trained.rows:,} ads; AUC {trained.auc:.3f} on others")
    settings = {
        "ads": made.pattern,
        "images": made.banners,
        "model": trained.model,
        "schema": storage.join(folder, "baseline", SCHEMA_FILE),
        "baseline": storage.join(folder, "baseline", STATISTICS_FILE),
        "runs": storage.join(folder, "runs"),
        "warehouse": f"duckdb:{storage.join(folder, 'warehouse.duckdb')}",
        "key": KEY,
        "label": LABEL,
        "queue": make_queue(folder, made.training, made.banners),
        "responses": storage.join(folder, "responses"),
    }
    build_baseline(made.training, settings, beam_args)
    file = _write_config(folder, settings)
    options = "" if file == DEFAULT_CONFIG_FILE else f"--config {file}"
    summary: RunSummary | None = None
    for month in MONTHS:
        known = {f.name for f in dataclasses.fields(MonthlyConfig)}
        given: dict[str, Any] = {name: settings[name] for name in settings.keys() & known}
        monthly = MonthlyConfig(**given | {"ads": (made.pattern,)}, month=f"{month:%Y-%m}")
        summary = execute(plan_monthly(monthly), beam_args)
        print_summary(summary, options=options)
        print()
    assert summary is not None
    _print_defects(summary, made.defects)
    print()
    run_queue(settings, beam_args, options)
    return 0


def build_baseline(training: str, settings: Mapping[str, str], beam_args: Sequence[str]) -> None:
    """What a data scientist does: infer a schema, write in the limits that data cannot know."""
    config = BaselineConfig(
        data=(training,),
        out=os.path.dirname(settings["schema"]),
        model=settings["model"],
        images=settings.get("images"),
        key=KEY,
        label=LABEL,
    )
    if not storage.exists(settings["schema"]):
        infer_schema_file(config, settings["schema"], beam_args)
        _write_ranges(settings["schema"])
    run_baseline(config, beam_args)


def _write_ranges(uri: str) -> None:
    schema = load_schema(uri)
    for feature in schema.feature:
        if feature.name in RANGES:
            lowest, highest = RANGES[feature.name]
            is_int = isinstance(lowest, int)
            domain = feature.int_domain if is_int else feature.float_domain
            domain.min, domain.max = lowest, highest
    text = storage.read_bytes(uri).decode()
    comments = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    storage.write_atomic(uri, (comments + text_format.MessageToString(schema)).encode())


def _write_config(folder: str, settings: Mapping[str, str]) -> str:
    """A TOML file with the demo's flags, in the current folder unless another one is there."""
    file = DEFAULT_CONFIG_FILE
    if os.path.exists(file) and _MADE_BY not in storage.read_bytes(file).decode(errors="replace"):
        file = storage.join(folder, DEFAULT_CONFIG_FILE)
    start = os.path.dirname(os.path.abspath(file))
    lines = []
    for name, value in settings.items():
        scheme, colon, path = value.rpartition(":")
        is_path = name not in ("key", "label")
        shown = scheme + colon + os.path.relpath(path, start) if is_path else value
        # A text in JSON is one in TOML, whatever the folder is called.
        lines.append(f"{name} = {json.dumps(shown, ensure_ascii=False)}\n")
    storage.write_atomic(file, (_MADE_BY + "".join(lines)).encode())
    return file


def _print_defects(summary: RunSummary, rows: Mapping[str, int]) -> None:
    """What is wrong with the last month, and where the run says so."""
    print(f"What the demo broke in {summary.period:%Y-%m}, and where it was found:")
    found = [(d.what, rows[d.name], _found_as(d, summary)) for d in DEFECTS]
    terminal.print_table(("defect", "rows", "found as"), found)


def _found_as(defect: Defect, summary: RunSummary) -> str:
    places = []
    if defect.reason is not None and defect.reason in summary.reasons:
        places.append(f"quarantine {defect.reason.value}")
    if defect.reason is not None and defect.reason in summary.flags:
        places.append(f"flag {defect.reason.value}")
    if defect.is_anomaly:
        kinds = {a.kind.value for a in summary.anomalies if a.feature == defect.feature}
        places += [f"anomaly {kind}" for kind in sorted(kinds)]
    return ", ".join(places) or "NOT FOUND"
