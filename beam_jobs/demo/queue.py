"""The demo's queue: request files, some with bad requests, and what was answered."""

import base64
import csv
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.commands.requests import attempt
from beam_jobs.config.verbs import RequestsConfig
from beam_jobs.demo.data import KEY, LABEL
from beam_jobs.plan import plan_requests
from beam_jobs.terminal.summary import print_summary

REQUESTS = 200
"""A slow night."""

BAD = (
    '{"id": "bad-1", "bid": 1.5, "device": "mobile"',
    '{"id": "bad-2", "bid": "a lot", "device": "mobile"}',
    '{"id": "bad-3", "bid": 1e400}',
    '{"id": "bad-4", "bidd": 1.5}',
    '{"bid": 1.5, "device": "mobile"}',
)
"""Cut off, a wrong type, a number that is none, a misspelt feature, no id."""

_NUMBERS: Mapping[str, type] = {"bid": float, "historic_ctr": float} | dict.fromkeys(
    ("user_age", "hour", "title_length", "is_video"), int
)


def make_queue(folder: str, training: str, banners: str) -> str:
    """Three request files made from training ads; their pattern.

    Files that are there already stay as they are: another generation would be answered again.
    """
    with open(training, newline="") as stream:
        ads = [_request(ad) for ad in itertools.islice(csv.DictReader(stream), REQUESTS)]
    column = next(name for name in ads[0] if "banner" in name)
    inside = next(ad for ad in ads if ad.get(column)) | {"id": "banner-inside"}
    data = storage.read_bytes(storage.join(banners, str(inside[column])))
    inside[column] = {"b64": base64.b64encode(data).decode()}
    half = REQUESTS // 2
    texts = [json.dumps(ad) for ad in ads]
    again = json.dumps(ads[0])
    for name, lines in {
        "evening.jsonl": texts[:half],
        "night.jsonl": [*texts[half:], *BAD, again],
        "banner.jsonl": [json.dumps(inside)],
    }.items():
        uri = storage.join(folder, "queue", name)
        if not storage.exists(uri):
            storage.write_atomic(uri, "".join(f"{line}\n" for line in lines).encode())
    return storage.join(folder, "queue", "*.jsonl")


def _request(ad: Mapping[str, str]) -> dict[str, Any]:
    values = {name: _NUMBERS.get(name, str)(text) for name, text in ad.items() if text}
    values.pop(LABEL, None)
    return {"id": values.pop(KEY), **values}


def run_queue(settings: Mapping[str, Any], beam_args: Sequence[str], options: str) -> None:
    """Answers the queue and shows some of the answers."""
    known = {field.name for field in dataclasses.fields(RequestsConfig)}
    given: dict[str, Any] = {name: settings[name] for name in settings.keys() & known}
    config = RequestsConfig(**given | {"queue": (settings["queue"],)})
    plan = plan_requests(config)
    summary = attempt(plan, beam_args, 0.0) if plan.inputs else None
    if summary is None:
        terminal.print_note("the queue was answered before; nothing was done twice")
    else:
        print_summary(summary, options=options)
        print()
    print(f"Some answers in {settings['responses']}:")
    rows = []
    for name, count in (("evening.jsonl", 2), ("banner.jsonl", 1), ("night.jsonl", len(BAD))):
        uri = storage.join(settings["responses"], name)
        if storage.exists(uri):
            lines = storage.read_bytes(uri).decode().splitlines()[-count:]
            rows += [(name, *_shown(json.loads(line))) for line in lines]
    terminal.print_table(("file", "id", "status", "score", "first detail"), rows)


def _shown(answer: Mapping[str, Any]) -> tuple[Any, ...]:
    first = next(iter(answer["details"]), "")
    return answer["id"], answer["status"], answer["score"], first
