"""The image of the Flex Templates, really built and run, without a Docker engine and a registry.

Buildah builds it on a Debian made by debootstrap. Of the two images that only Google and Docker Hub
have, what is copied from them is made here: the workers' boot program from its Go module, and a
launcher that does what Dataflow's does with the image. Runs have no network.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "debootstrap", "go", "unshare")
IMAGE = "localhost/beam-jobs:test"
PACKAGES = "python3,python3-dev,python3-venv,ca-certificates"
BOOT = "github.com/apache/beam/sdks/v2/python/container"
GO_MOD = "module boot\ngo 1.23\nrequire github.com/apache/beam/sdks/v2 v2.77.0\n"
LAUNCHER = '#!/bin/sh\nexec python "$FLEX_TEMPLATE_PYTHON_PY_FILE" "$@"\n'
NOBODY = "65534:65534"


def needs_tools() -> None:
    """CI has them (.ci/run installs them) and must never pass this by."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid():
        missing.append("the superuser's rights")
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"builds an image: this machine lacks {', '.join(missing)}")
    assert not missing, f"CI lacks {', '.join(missing)}"


def mounts_overlays(folder: Path) -> bool:
    for name in ("lower", "upper", "work", "mounted"):
        (folder / name).mkdir(parents=True)
    where = ",".join(f"{name}dir={folder / name}" for name in ("lower", "upper", "work"))
    mounted = ["mount", "-t", "overlay", "overlay", "-o", where, str(folder / "mounted")]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", folder / "mounted"], check=True)
    return True


class Builder:
    """Buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = folder / "storage.conf"
        # vfs works everywhere, and copies all files for each layer and container.
        driver = "overlay" if mounts_overlays(folder / "probe") else "vfs"
        settings.write_text(
            f'[storage]\ndriver = "{driver}"\nrunroot = "{folder}/run"\n'
            f'graphroot = "{folder}/graph"\n'
        )
        self._environment = os.environ | {
            "CONTAINERS_STORAGE_CONF": str(settings),
            "BUILDAH_ISOLATION": "chroot",
        }

    def __call__(self, *argv: str, before: tuple[str, ...] = (), code: int = 0) -> str:
        """Runs buildah; gives its standard output. `before` are words before the command."""
        done = self.run(*argv, before=before)
        assert done.returncode == code, f"{argv}: {done.stdout[-3000:]}{done.stderr[-5000:]}"
        return done.stdout.strip()

    def run(self, *argv: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*before, "buildah", *argv],
            capture_output=True,
            text=True,
            env=self._environment,
            check=False,
        )

    def image(self, name: str, base: str, *files: tuple[Path, str]) -> None:
        """Makes an image of files on a base, without running anything."""
        container = self("from", base)
        for source, target in files:
            self("add", "--quiet", container, str(source), target)
        self("commit", "--quiet", container, name)
        self("rm", container)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    needs_tools()
    folder = tmp_path_factory.mktemp("image")
    building = Builder(folder)
    yield building
    building("umount", "--all")
    subprocess.run(["umount", folder / "graph/overlay"], capture_output=True, check=False)
    shutil.rmtree(folder)  # gigabytes, which pytest would keep


@pytest.fixture(scope="module")
def container(builder: Builder) -> str:
    """A container of the image."""
    folder = builder.folder
    debian, boot, launcher = folder / "debian", folder / "boot", folder / "launcher"
    making_debian = subprocess.Popen(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(debian)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    boot.mkdir()
    (boot / "go.mod").write_text(GO_MOD)
    environment = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", "boot", BOOT], cwd=boot, env=environment, check=True)
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    said, _ = making_debian.communicate()
    assert making_debian.returncode == 0, said
    builder.image("localhost/debian", "scratch", (debian, "/"))
    shutil.rmtree(debian)
    builder.image("localhost/sdk", "scratch", (boot / "boot", "/opt/apache/beam/boot"))
    builder.image(
        "localhost/launcher",
        "scratch",
        (launcher, "/opt/google/dataflow/python_template_launcher"),
    )
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv"))
    cache.mkdir(parents=True, exist_ok=True)
    builder(
        "bud",
        "--quiet",
        "--layers=false",
        "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",
        f"--volume={cache}:/root/.cache/uv",  # what the tests' environment was installed from
        "--build-arg=BASE=localhost/debian",
        "--build-arg=SDK=localhost/sdk",
        "--build-arg=LAUNCHER=localhost/launcher",
        "--build-arg=UV_COMPILE_BYTECODE=0",
        f"--build-arg=IMAGE={IMAGE}",
        f"--tag={IMAGE}",
        f"--file={ROOT / 'templates/Dockerfile'}",
        str(ROOT),
    )
    return builder("from", IMAGE)


def run(
    builder: Builder, container: str, *command: str, volumes: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Runs a command in the image, as nobody, without a network."""
    mounted = [f"--volume={volume}" for volume in volumes]
    words = ["run", f"--user={NOBODY}", *mounted, container, "--", *command]
    return builder.run(*words, before=("unshare", "--net"))


def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "templates/Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.usefixtures("container")
def test_the_image_says_how_dataflow_uses_it(builder: Builder) -> None:
    found = json.loads(builder("inspect", "--type=image", IMAGE))["OCIv1"]["config"]
    environment = dict(word.split("=", 1) for word in found["Env"])
    assert found["Entrypoint"] == ["/opt/apache/beam/boot"]
    assert environment["FLEX_TEMPLATE_PYTHON_PY_FILE"] == "/template/launch.py"
    assert environment["BEAM_JOBS_IMAGE"] == IMAGE
    assert environment["BEAM_JOBS_JOB"] == "monthly"
    staging = ("FLEX_TEMPLATE_PYTHON_REQUIREMENTS_FILE", "FLEX_TEMPLATE_PYTHON_SETUP_FILE")
    assert not set(staging) & set(environment)


def versions(text: str) -> dict[str, str]:
    """{normal name: version} of lines `name==version`, of those whose markers the image meets."""
    image = {"python_version": "3.13", "python_full_version": "3.13.5"}
    found: dict[str, str] = {}
    for line in re.findall(r"^[\w.-]+==[^\\\n]+", text, re.M):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(image):
            (pinned,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = pinned.version
    return found


def test_the_image_has_the_lock_and_nothing_of_cuda(builder: Builder, container: str) -> None:
    listed = run(builder, container, "python", "-m", "pip", "list", "--format=freeze")
    installed = versions(listed.stdout)
    assert versions((ROOT / "requirements.txt").read_text()).items() <= installed.items()
    assert not [name for name in installed if name.startswith("nvidia-")]
    assert run(builder, container, "python", "-m", "pip", "check").returncode == 0


def test_the_command_line_runs_as_nobody_without_a_network(
    builder: Builder, container: str
) -> None:
    version = run(builder, container, "beam-jobs", "--version")
    assert version.stdout.startswith("beam-jobs "), version.stderr
    # The workers' boot program starts, and asks for what only a runner can tell it.
    boot = run(builder, container, "/opt/apache/beam/boot")
    assert "No id provided" in boot.stdout + boot.stderr


def test_the_launcher_runs_the_job_in_the_image(
    builder: Builder, container: str, demo: Path, tmp_path: Path
) -> None:
    """Planned, then run by the launcher on the local runner: all that the image needs is in it."""
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o777)
    data = shutil.copytree(
        demo, tmp_path / "demo", ignore=shutil.ignore_patterns("runs", "*.duckdb")
    )
    data.chmod(0o755)  # pytest's folders are their owner's alone
    volumes = (f"{data}:/demo:ro", f"{results}:/results")
    flags = {
        "month": "2026-09",
        "ads": "/demo/ads/{month}/*",
        "images": "/demo/banners",
        "model": "/demo/models/ads",
        "schema": "/demo/baseline/schema.pbtxt",
        "baseline": "/demo/baseline/statistics.binpb",
        "runs": "/results/runs",
        "warehouse": "duckdb:/results/ads.duckdb",
        "key": "ad_id",
        "label": "clicked",
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    planned = run(builder, container, "beam-jobs", "monthly", "--plan", "--json", *words,
                  volumes=volumes)  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout.splitlines()[-1])
    assert list(results.iterdir()) == []
    launcher = "/opt/google/dataflow/python_template_launcher"
    launched = run(builder, container, launcher, "--runner=DirectRunner", "--force=true", *words,
                   volumes=volumes)  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    (line,) = [json.loads(each) for each in launched.stderr.splitlines() if each[:1] == "{"]
    assert (line["status"], line["run_id"]) == ("PUBLISHED", plan["run_id"])
    assert (results / "runs/monthly/2026-09" / plan["run_id"] / "summary.json").exists()
