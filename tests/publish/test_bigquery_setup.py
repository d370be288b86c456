"""BigQuery that is set up wrongly, or not at all, is found before any work."""

import pytest
from publish_kit import OCTOBER, write_run
from servers.bigquery import Fault

from beam_jobs.errors import UsageError
from beam_jobs.publish.bigquery_engine import BigQueryEngine
from beam_jobs.publish.publishing import publish_run
from beam_jobs.publish.warehouse import open_warehouse


@pytest.fixture
def url(bigquery):
    return f"bigquery:{bigquery.new_dataset()}"


@pytest.mark.parametrize("place", ["p", "p.d.t", "P.d", "p.d-e", "p.", ".d", "p.d e"])
def test_a_url_that_is_no_data_set_is_refused(place):
    with pytest.raises(UsageError, match="is no data set"):
        BigQueryEngine(place)


def test_a_project_of_a_domain_is_taken(bigquery):
    assert BigQueryEngine("example.com:ads.d").url == "bigquery:example.com:ads.d"


def test_a_data_set_that_does_not_exist_is_found_before_work(bigquery, tmp_path):
    warehouse = open_warehouse("bigquery:test-project.nowhere")
    written = write_run(str(tmp_path / "runs"), "r1")
    for look in (
        warehouse.check,
        warehouse.runs,
        warehouse.engine.columns,
        lambda: publish_run(warehouse, *written),
    ):
        with pytest.raises(UsageError, match=r"there is no such data set; make it, .*bq mk"):
            look()


@pytest.mark.parametrize(
    ("where", "message", "role"),
    [
        (
            lambda c: c.is_job,
            "Access Denied: Project p: User does not have bigquery.jobs.create permission in p.",
            "roles/bigquery.jobUser on the project",
        ),
        (
            lambda c: "CREATE TABLE" in c.sql,
            "Access Denied: Dataset p:d: Permission bigquery.tables.create denied on dataset p:d",
            "roles/bigquery.dataEditor on the dataset",
        ),
        (
            lambda c: c.method == "GET",
            "Access Denied: Dataset p:d: Permission bigquery.datasets.get denied on dataset p:d",
            "roles/bigquery.dataViewer on the dataset to read,"
            " roles/bigquery.dataEditor to publish",
        ),
    ],
)
def test_a_missing_permission_is_found_before_work_with_its_role(
    bigquery, warehouse, where, message, role
):
    bigquery.faults.append(Fault(where, 403, "accessDenied", message))
    with pytest.raises(UsageError) as caught:
        warehouse.check()
    assert message.rstrip(".") in str(caught.value)
    assert str(caught.value).endswith(f"needs the role {role}")
    warehouse.check()


def test_without_credentials_it_says_how_to_get_them(monkeypatch, tmp_path):
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match=r"no valid credentials .*application-default login"):
        open_warehouse("bigquery:p.d").check()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(UsageError, match=r"no valid credentials .*nowhere.json"):
        open_warehouse("bigquery:p.d").runs()


def test_a_new_data_set_is_an_empty_warehouse(warehouse):
    warehouse.check()
    assert warehouse.runs() == []
    assert warehouse.engine.columns() == {}
    assert warehouse.latest_published("monthly", OCTOBER) is None
