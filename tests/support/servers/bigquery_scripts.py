"""Scripts of BigQuery as the emulator understands them."""

import json
import re
from typing import Any

import sqlglot


def with_literals(job: dict[str, Any]) -> bytes:
    """A script whose parameters stand in it as literals: the emulator binds none in scripts."""
    query = job["configuration"]["query"]
    values = {p["name"]: _literal(p) for p in query.get("queryParameters", [])}
    text = re.sub(r"@(\w+)", lambda found: values[found[1]], query["query"])
    return _changed(job, {"query": text, "queryParameters": []})


def with_one_column_each(job: dict[str, Any]) -> bytes:
    """`ALTER TABLE ... ADD COLUMN a, ADD COLUMN b` as two statements; DuckDB takes no other."""
    texts = []
    for tree in sqlglot.parse(job["configuration"]["query"]["query"], read="bigquery"):
        assert tree is not None
        actions = tree.args["actions"] if isinstance(tree, sqlglot.exp.Alter) else [None]
        for action in actions:
            if action is not None:
                tree.set("actions", [action])
            texts.append(tree.sql("bigquery"))
    return _changed(job, {"query": ";\n".join(texts)})


def _changed(job: dict[str, Any], query: dict[str, Any]) -> bytes:
    configuration = job["configuration"]
    changed = {**configuration, "query": configuration["query"] | query}
    return json.dumps({**job, "configuration": changed}).encode()


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
