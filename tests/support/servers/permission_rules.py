"""A call to Google -> the permissions that it needs, by Google's own tables.

Storage: https://cloud.google.com/storage/docs/access-control/iam-json
BigQuery: https://cloud.google.com/bigquery/docs/access-control,
    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#required_permissions
Dataflow: https://cloud.google.com/dataflow/docs/concepts/access-control
"""

import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp

from support.grants import PROJECT


@dataclass(frozen=True, order=True)
class Need:
    """A permission on `project`, `bucket/NAME`, `dataset/NAME`, `account/EMAIL` or `image/NAME`.

    Attributes:
        account: who needs it, where that is not who calls.
    """

    permission: str
    on: str
    account: str | None = None


@dataclass(frozen=True)
class Request:
    """One call."""

    method: str
    path: str
    body: bytes

    @property
    def parts(self) -> list[str]:
        """Of the path, decoded, without the query."""
        path = urllib.parse.urlsplit(self.path).path
        return [urllib.parse.unquote(part) for part in path.strip("/").split("/")]

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))

    @property
    def json(self) -> Any:
        """The body; of a multipart upload its first part."""
        text = self.body
        if text.startswith(b"--"):
            text = text.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
        return json.loads(text) if text.startswith(b"{") else {}


def storage_object(request: Request) -> tuple[str, str]:
    """(bucket, object) that a call to Cloud Storage is about; either may be empty."""
    parts = request.parts
    if "b" not in parts[:-1]:
        return "", ""
    bucket, *rest = parts[parts.index("b") + 1 :]
    name = "/".join(rest[1:]) if rest[:1] == ["o"] else ""
    if not name and request.method == "POST":
        name = request.query.get("name") or str(request.json.get("name", ""))
    return bucket, name


def of_storage(request: Request, exists: bool) -> list[Need]:
    """Of the JSON API.

    Args:
        request: the call.
        exists: whether the object is there: overwriting it needs the permission to delete it.
    """
    bucket, name = storage_object(request)
    on = f"bucket/{bucket}"
    if request.parts[-1] == "testPermissions":
        return []  # anybody may ask what he may do
    if request.parts[-1] == bucket:
        return [Need("storage.buckets.get", on)]
    if not name:
        return [Need("storage.objects.list", on)]
    if request.method == "GET":
        return [Need("storage.objects.get", on)]
    if request.method == "POST":
        overwrites = [Need("storage.objects.delete", on)] if exists else []
        return [Need("storage.objects.create", on), *overwrites]
    if request.method == "PUT":
        return []  # a part of an upload: its session was begun with permission
    verb = {"DELETE": "delete", "PATCH": "update"}[request.method]
    return [Need(f"storage.objects.{verb}", on)]


def of_bigquery(request: Request) -> list[Need]:
    """Of the REST API. Looking at a job that somebody else began is the front's to judge."""
    parts, method = request.parts, request.method
    if parts[-1] == "jobs" and method == "POST":
        configuration = request.json.get("configuration", {})
        needs = [Need("bigquery.jobs.create", PROJECT)]
        if "load" in configuration:
            return needs + list(_of_load(configuration["load"]))
        query = configuration.get("query", {})
        return needs + of_sql(query.get("query", ""), _dataset(query))
    if parts[-1] == "queries" and method == "POST":
        sql = request.json["query"]
        return [Need("bigquery.jobs.create", PROJECT), *of_sql(sql, _dataset(request.json))]
    if "jobs" in parts or "queries" in parts:
        return []
    on = f"dataset/{parts[parts.index('datasets') + 1]}"
    if parts[-2] == "datasets":
        return [Need("bigquery.datasets.get", on)]
    if parts[-1] == "data":
        return [Need("bigquery.tables.getData", on)]
    if parts[-1] == "tables" and method == "GET":
        return [Need("bigquery.tables.list", on)]
    verbs = {"GET": "get", "POST": "create", "PATCH": "update", "PUT": "update"}
    needs = [Need(f"bigquery.tables.{verbs.get(method, 'delete')}", on)]
    if "view" in request.json:
        needs.append(Need("bigquery.tables.getData", on))
    return needs


def _dataset(query: dict[str, Any]) -> str:
    found: str = query.get("defaultDataset", {}).get("datasetId", "")
    return found


def _of_load(load: dict[str, Any]) -> Iterator[Need]:
    on = f"dataset/{load['destinationTable']['datasetId']}"
    for verb in ("create", "update", "updateData"):
        yield Need(f"bigquery.tables.{verb}", on)
    for bucket in {uri.split("/")[2] for uri in load.get("sourceUris", ())}:
        yield Need("storage.objects.get", f"bucket/{bucket}")


_CHANGES: dict[type[exp.Expr], tuple[str, ...]] = {
    exp.Create: ("create",),
    exp.Alter: ("get", "update"),
    exp.Drop: ("delete",),
    exp.Insert: ("updateData",),
    exp.Update: ("updateData", "getData"),
    exp.Delete: ("updateData", "getData"),
    exp.Merge: ("updateData", "getData"),
}


def of_sql(sql: str, dataset: str) -> list[Need]:
    """Of a statement or script.

    Args:
        sql: GoogleSQL.
        dataset: of tables that name none.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language and
    data-manipulation-language, "Required permissions" of each statement.
    """
    if "END IF" in sql:
        return _of_branches(sql)
    trees = sqlglot.parse(sql, read="bigquery")
    return sorted({need for tree in trees if tree for need in _of_statement(tree, dataset)})


def _of_statement(tree: exp.Expr, dataset: str) -> Iterator[Need]:
    for kind, verbs in _CHANGES.items():
        if isinstance(tree, kind):
            yield from _of_tables(tree, dataset, verbs)
    common = {cte.alias for cte in tree.find_all(exp.CTE)}
    for query in tree.find_all(exp.Select):
        if any(table.name not in common for table in query.find_all(exp.Table)):
            yield from _of_tables(query, dataset, ("getData",))


def _of_tables(tree: exp.Expr, dataset: str, verbs: tuple[str, ...]) -> Iterator[Need]:
    for table in tree.find_all(exp.Table):
        is_schema = "INFORMATION_SCHEMA" in table.sql("bigquery")
        on = table.text("catalog" if is_schema else "db") or dataset
        for verb in ("get", "list") if is_schema else verbs:
            yield Need(f"bigquery.tables.{verb}", f"dataset/{on}")


def _of_branches(sql: str) -> list[Need]:
    """Of all branches of a script; SQLGlot does not know them."""
    verbs = [("INFORMATION_SCHEMA", verb) for verb in ("get", "list")] + [("", "getData")]
    places = re.findall(r"FROM `[\w-]+\.(\w+)(`\.INFORMATION_SCHEMA)?", sql)
    return sorted(
        {
            Need(f"bigquery.tables.{verb}", f"dataset/{dataset}")
            for dataset, schema in places
            for kind, verb in verbs
            if bool(schema) is bool(kind)
        }
    )


_AS_WORKER = (
    ("dataflow.workItems.lease", PROJECT),
    ("dataflow.workItems.update", PROJECT),
    ("logging.logEntries.create", PROJECT),
)
"""What a job's machines do as the worker account beside their own reading and writing."""


def of_dataflow(request: Request) -> list[Need]:
    """Of the REST API; a job that is taken needs what its machines will."""
    parts, method = request.parts, request.method
    if parts[-1] == "flexTemplates:launch":
        launch = request.json["launchParameter"]
        template = launch["containerSpecGcsPath"].split("/")[2]
        worker = launch["environment"]["serviceAccountEmail"]
        return [
            Need("dataflow.jobs.create", PROJECT),
            Need("storage.objects.get", f"bucket/{template}"),
            *_of_worker(worker, "template"),
        ]
    if parts[-1] == "jobs":
        if method == "GET":
            return [Need("dataflow.jobs.list", PROJECT)]
        environment = request.json["environment"]
        image = environment["sdkPipelineOptions"]["options"].get("sdk_container_image", "")
        worker = environment["serviceAccountEmail"]
        return [Need("dataflow.jobs.create", PROJECT), *_of_worker(worker, image)]
    if parts[-1] in ("messages", "metrics"):
        verb = {"messages": "list", "metrics": "get"}[parts[-1]]
        return [Need(f"dataflow.{parts[-1]}.{verb}", PROJECT)]
    verb = "cancel" if method == "PUT" else "get"
    assert re.search(r"jobs/[^/]+$", "/".join(parts)), request.path
    return [Need(f"dataflow.jobs.{verb}", PROJECT)]


def _of_worker(worker: str, image: str) -> Iterator[Need]:
    yield Need("iam.serviceAccounts.actAs", f"account/{worker}")
    yield Need("artifactregistry.repositories.downloadArtifacts", f"image/{image}", worker)
    for permission, on in _AS_WORKER:
        yield Need(permission, on, worker)
