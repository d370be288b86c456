"""A script of BigQuery whose parameters stand in it as literals."""

import json
import re
from typing import Any


def with_literals(job: dict[str, Any]) -> bytes:
    """A script whose parameters stand in it as literals: the emulator binds none in scripts."""
    query = job["configuration"]["query"]
    values = {p["name"]: _literal(p) for p in query.get("queryParameters", [])}
    text = re.sub(r"@(\w+)", lambda found: values[found[1]], query["query"])
    changed = {**query, "query": text, "queryParameters": []}
    return json.dumps({**job, "configuration": {**job["configuration"], "query": changed}}).encode()


def _literal(parameter: dict[str, Any]) -> str:
    type_, value = parameter["parameterType"], parameter["parameterValue"]
    if type_["type"] == "ARRAY":
        inner = type_["arrayType"]
        items = [
            _literal({"parameterType": inner, "parameterValue": item})
            for item in value.get("arrayValues", [])
        ]
        return f"CAST([{', '.join(items)}] AS ARRAY<{inner['type']}>)"
    if value.get("value") is None:
        return f"CAST(NULL AS {type_['type']})"
    text = value["value"].replace("\\", "\\\\").replace("'", "\\'")
    return f"CAST('{text}' AS {type_['type']})"
