"""Every verb and job as the account that docs/deploy.md gives it, with the grants of Terraform.

Before the emulators stands what refuses every call that an account's roles do not allow. So the
whole way is green with templates/terraform as written, and red when any grant is taken away. What
no emulator has (pulling the image, leasing work, acting as another account) is asked for where
Dataflow would ask.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.accounts import BUCKETS, IMAGE, ROOT, WORKER, Cloud, Person
from support.commands import Result
from support.grants import PROJECT, Grant, all_grants, allows
from support.queues import good
from support.servers.bigquery import PROJECT as PROJECT_ID
from support.servers.bigquery import BigQueryServer
from support.servers.dataflow import REASON, DataflowServer, MetadataServer
from support.servers.gcs import GcsServer
from support.terraform import watch_query

pytestmark = pytest.mark.integration


NOT_RUN_HERE = {
    # gcloud --impersonate-service-account,
    # https://cloud.google.com/docs/authentication/use-service-account-impersonation
    ("operators", "iam.serviceAccounts.getAccessToken", "launcher"),
    # A build as an account of one's own pushes its image,
    # https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts
    ("builder", "artifactregistry.repositories.uploadArtifacts", PROJECT),
}
"""(account, permission, on what) that only Google itself asks for."""

Act = Callable[[Cloud, Grant | None], None]
"""Something that an account does, without one of the grants."""


@pytest.fixture(scope="module")
def cloud(
    gcs_server: GcsServer, bigquery_servers: BigQueryServer, demo: Path, setup: Path
) -> Iterator[Cloud]:
    gcs_server.clear()
    service, metadata = DataflowServer(), MetadataServer()
    place = f"bigquery:{bigquery_servers.new_dataset()}"
    made = Cloud(gcs_server, bigquery_servers, service, metadata, place)
    for bucket in BUCKETS:
        gcs_server.new_bucket(made.uri(bucket).removeprefix("gs://"))
    for name in ("ads/2026-09", "ads/2026-10", "banners", "models", "baseline"):
        gcs_server.put_folder(demo / name, made.uri("data", f"demo/{name}"))
    gcs_server.put_folder(setup, made.uri("data", "setup"))
    yield made
    service.stop()
    metadata.stop()


def status_of(done: Result) -> tuple[str, str]:
    """(run id, status)."""
    return done.json["run_id"], done.json["status"]


def put_requests(cloud: Cloud, name: str, lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    cloud.gcs.put(cloud.uri("exchange", f"queue/{name}.jsonl"), data)


def held_month(cloud: Cloud, *argv: str) -> str:
    with cloud.acting_as("worker") as worker:
        done = worker.run(*worker.month("2026-10", "--json", *argv), expected=(3,))
    return status_of(done)[0]


# --- what the accounts do


def the_month(cloud: Cloud) -> None:
    """Run, held, approved; computed anew, and rolled back."""
    with cloud.acting_as("worker") as worker:
        worker.run(*worker.month("2026-09", "--plan"))
        worker.run(*worker.month("2026-09", "--json", "--gate=PUBLISH"))
    held = held_month(cloud)
    with cloud.acting_as("launcher") as launcher:
        launcher.ask("runs", "--json")
        launcher.ask("show", held)
        launcher.ask("anomalies", held)
        launcher.ask("approve", held, "--yes")
    with cloud.acting_as("worker") as worker:
        again = worker.run(*worker.month("2026-10", "--json", "--gate=PUBLISH", "--slice=device"))
    assert status_of(again)[1] == "PUBLISHED"
    with cloud.acting_as("launcher") as launcher:
        done = launcher.ask("rollback", "--month=2026-10", "--yes")
        assert held in done.out
    rejected = held_month(cloud, "--slice=category")
    with cloud.acting_as("launcher") as launcher:
        launcher.ask("reject", rejected)


def the_queue(cloud: Cloud) -> None:
    """Answered; held, and answered by who approves."""
    good_lines = [json.dumps(request) for request in good("a", 5)]
    put_requests(cloud, "a", good_lines)
    with cloud.acting_as("worker") as worker:
        worker.run(*worker.queue("--plan"))
        done = worker.run(*worker.queue("--json", "--gate=PUBLISH"))
        assert status_of(done)[1] == "PUBLISHED"
        assert status_of(worker.run(*worker.queue("--json")))[1] == "UNCHANGED"
    put_requests(cloud, "b", [*good_lines, *["{"] * 20])
    with cloud.acting_as("worker") as worker:
        held = status_of(worker.run(*worker.queue("--json"), expected=(3,)))[0]
    assert len(cloud.gcs.names(cloud.uri("exchange", "responses/"))) == 1
    with cloud.acting_as("launcher") as launcher:
        launcher.ask("approve", held, "--yes")
    assert len(cloud.gcs.names(cloud.uri("exchange", "responses/"))) == 2


def looking(cloud: Cloud) -> None:
    """What analysts do."""
    with cloud.acting_as("analyst") as analyst:
        run_id = json.loads(analyst.ask("runs", "--json").out)[0]["run_id"]
        analyst.ask("anomalies", run_id)
        analyst.ask("show", run_id)
        analyst.ask("query", "SELECT COUNT(*) AS n FROM current_scores")
        analyst.ask("query", "--run", run_id, "SELECT COUNT(*) AS n FROM scores")


def a_launch_by_schedule(cloud: Cloud, without: Grant | None = None) -> None:
    """Cloud Scheduler's call; the launcher's machine then plans and submits as the worker."""
    with cloud.acting_as("scheduler", without) as scheduler:
        scheduler.call(
            "POST",
            f"{scheduler.dataflow}/v1b3/projects/{PROJECT_ID}/locations/r/flexTemplates:launch",
            {
                "launchParameter": {
                    "containerSpecGcsPath": cloud.uri("data", "templates/monthly-1.json"),
                    "environment": {"serviceAccountEmail": WORKER},
                }
            },
        )


def a_launch_on_the_launchers_machine(cloud: Cloud, without: Grant | None = None) -> None:
    """The template's program, as the worker account."""
    cloud.dataflow.state = "JOB_STATE_PENDING"
    with cloud.acting_as("worker", without) as worker:
        flags = worker.month("2026-09", "--slice=country")[1:]
        done = worker.launch(str(ROOT / "templates/launch.py"), *flags)
        assert done.returncode == 0, done.stderr[-2000:]


def a_launch_from_a_shell(cloud: Cloud, without: Grant | None = None) -> None:
    """A person, as the launcher: submits, waits and cancels. The job comes to nothing here."""
    cloud.dataflow.state = "JOB_STATE_FAILED"
    with cloud.acting_as("launcher", without) as launcher:
        flags = launcher.month("2026-09", "--slice=category")
        done = launcher.launch("-m", "beam_jobs", *flags, f"--sdk_container_image={IMAGE}")
        assert not launcher.access.refused, done.stderr[-2000:]
        assert done.returncode == 1, done.stderr[-2000:]
        assert f"ended as FAILED: {REASON}" in done.stderr
        assert "Traceback" not in done.stderr
        job = f"{launcher.dataflow}/v1b3/projects/{PROJECT_ID}/locations/r/jobs/1"
        launcher.call("PUT", job, {"requestedState": "JOB_STATE_CANCELLED"})


def the_watch(cloud: Cloud, without: Grant | None = None) -> None:
    """Cloud Scheduler's question whether the month is there."""
    sql = watch_query(cloud.warehouse.removeprefix("bigquery:"), late_after_day=32)
    with cloud.acting_as("watcher", without) as watcher:
        url = f"{watcher.bigquery}/bigquery/v2/projects/{PROJECT_ID}/queries"
        watcher.call("POST", url, {"query": sql, "useLegacySql": False})


def test_the_grants_are_enough_and_each_is_needed(cloud: Cloud) -> None:
    the_month(cloud)
    the_queue(cloud)
    looking(cloud)
    a_launch_by_schedule(cloud)
    a_launch_on_the_launchers_machine(cloud)
    a_launch_from_a_shell(cloud)
    the_watch(cloud)
    needed = cloud.needed | NOT_RUN_HERE
    lacking = [need for need in sorted(needed) if not allows(cloud.grants, *need)]
    assert lacking == [], lacking
    for grant in cloud.grants:
        rest = cloud.grants - {grant}
        assert [need for need in needed if not allows(rest, *need)], f"{grant} is not needed"


def a_plan(account: str, job: Callable[[Person], list[str]]) -> Act:
    def plan(cloud: Cloud, without: Grant | None) -> None:
        with cloud.acting_as(account, without) as person:
            person.run(*job(person), "--plan")

    return plan


def september(person: Person) -> list[str]:
    return person.month("2026-09")


def a_decision(cloud: Cloud, without: Grant | None) -> None:
    held = held_month(cloud, "--slice=country")
    with cloud.acting_as("launcher", without) as launcher:
        launcher.ask("approve", held, "--yes")


def an_analysts_look(cloud: Cloud, without: Grant | None) -> None:
    with cloud.acting_as("launcher") as launcher:
        run_id = json.loads(launcher.ask("runs", "--json").out)[0]["run_id"]
    with cloud.acting_as("analyst", without) as analyst:
        analyst.ask("show", run_id)


SHORTEST: dict[tuple[str, str], Act] = {
    ("analyst", ""): an_analysts_look,
    ("launcher", ""): a_decision,
    ("launcher", "data"): a_plan("launcher", september),
    ("launcher", "exchange"): a_plan("launcher", Person.queue),
    ("launcher", "staging"): a_launch_from_a_shell,
    ("launcher", "worker"): a_launch_from_a_shell,
    ("launcher", "dataflow"): a_launch_from_a_shell,
    ("scheduler", ""): a_launch_by_schedule,
    ("watcher", ""): the_watch,
    ("worker", ""): a_plan("worker", september),
    ("worker", "exchange"): a_plan("worker", Person.queue),
    ("worker", "images"): a_launch_on_the_launchers_machine,
    ("worker", "staging"): a_launch_on_the_launchers_machine,
    ("worker", "worker"): a_launch_on_the_launchers_machine,
    ("worker", "dataflow"): a_launch_on_the_launchers_machine,
}
"""{(account, what the grant is on, `dataflow` for roles of Dataflow): what shows soonest that it
is missing}; without a second word for everything else."""

LAUNCHES = (a_launch_from_a_shell, a_launch_on_the_launchers_machine)

RUN_HERE = sorted(
    grant for grant in all_grants() if grant.account not in {need[0] for need in NOT_RUN_HERE}
)


@pytest.mark.parametrize("grant", RUN_HERE, ids=str)
def test_without_a_grant_something_is_refused_in_plain_words(cloud: Cloud, grant: Grant) -> None:
    of_dataflow_only = any(name.startswith("dataflow.") for name in grant.permissions)
    key = (grant.account, "dataflow" if of_dataflow_only else grant.on)
    act = SHORTEST.get(key) or SHORTEST[grant.account, ""]
    with pytest.raises(AssertionError) as raised:
        act(cloud, grant)
    if act not in LAUNCHES:  # Beam's words there, where the refusal is not found before
        told = str(raised.value)
        assert "Traceback" not in told
        assert re.search(r"permission|roles/|Access Denied", told), told
