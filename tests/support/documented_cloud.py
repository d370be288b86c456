"""gcloud of docs/deploy.md on the emulators; run by `test_documented_way.py`.

Copies are real copies; a launch runs its job in this machine's own runner, as the worker account.
What has no effect here is only noted.
"""

import os
import subprocess
import sys
from pathlib import Path

from beam_jobs import storage


def main(words: list[str]) -> int:
    values = [word for word in words if not word.startswith("--")]
    if values[:2] in (["storage", "rsync"], ["storage", "cp"]):
        source, target = Path(values[2]), values[3]
        paths = [p for p in source.rglob("*") if p.is_file()] if source.is_dir() else [source]
        for path in paths:
            uri = storage.join(target, str(path.relative_to(source))) if path != source else target
            storage.write_atomic(uri, path.read_bytes())
    elif values[:2] == ["storage", "cat"]:
        sys.stdout.buffer.write(storage.read_bytes(values[2]))
    elif values[:3] == ["dataflow", "flex-template", "run"]:
        return launch(words)
    return 0


def launch(words: list[str]) -> int:
    """Runs the job of the template with its parameters, and waits."""
    given = dict(
        pair.split("=", 1)
        for word in words
        if word.startswith("--parameters=")
        for pair in word.removeprefix("--parameters=").split(",")
    )
    (template,) = [word for word in words if word.startswith("--template-file-gcs-location=")]
    job = "requests" if "/requests-" in template else "monthly"
    flags = [f"--{name}={value}" for name, value in given.items()]
    environment = os.environ | {
        "STORAGE_EMULATOR_HOST": os.environ["WORKER_STORAGE"],
        "BIGQUERY_EMULATOR_HOST": os.environ["WORKER_BIGQUERY"],
    }
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    command = [sys.executable, "-m", "beam_jobs", job, *flags]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
