"""What templates/terraform grants to whom, and what Google's roles allow."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.terraform import RESOURCES, texts

ROLES: Mapping[str, list[str]] = json.loads(
    Path(__file__).with_name("google_roles.json").read_text()
)
"""{role: its permissions}, of the services that jobs and people use here, as IAM listed them in
August 2026; https://cloud.google.com/iam/docs/roles-permissions has a page a service."""

PROJECT = "project"
"""What is granted on it holds for everything in it."""


@dataclass(frozen=True, order=True)
class Grant:
    """A role of an account.

    Attributes:
        account: Terraform's name of the service account, such as `worker`; `operators` are people.
        role: Google's name, or `custom/` and Terraform's name of a role of our own.
        on: `project`, or Terraform's name of the bucket, dataset, repository or service account.
    """

    account: str
    role: str
    on: str

    @property
    def permissions(self) -> frozenset[str]:
        """Of the role."""
        if not self.role.startswith("custom/"):
            return frozenset(ROLES[self.role])
        custom = RESOURCES["google_project_iam_custom_role", self.role.removeprefix("custom/")]
        return frozenset(custom["permissions"])

    def __str__(self) -> str:
        return f"{self.account}: {self.role} on {self.on}"


def all_grants() -> frozenset[Grant]:
    """Of all `iam_member` resources."""
    return frozenset(
        Grant(account, _role(body["role"]), _on(body))
        for (kind, _), body in RESOURCES.items()
        if kind.endswith("_iam_member")
        for account in _accounts(body)
    )


def allows(grants: Iterable[Grant], account: str, permission: str, on: str) -> bool:
    """Whether an account has a permission on something of the project."""
    return any(
        grant.account == account and grant.on in (on, PROJECT) and permission in grant.permissions
        for grant in grants
    )


def _accounts(body: Mapping[str, Any]) -> set[str]:
    text = " ".join(texts([body["member"], body.get("for_each", "")]))
    text = text.replace("local.analysts", "google_service_account.analyst.member")
    found = set(re.findall(r"google_service_account\.(\w+)\.member", text))
    return found | ({"operators"} if "var.operators" in text else set())


def _role(text: str) -> str:
    custom = re.search(r"google_project_iam_custom_role\.(\w+)", text)
    return f"custom/{custom[1]}" if custom else text


def _on(body: Mapping[str, Any]) -> str:
    keys = ("bucket", "dataset_id", "repository", "service_account_id", "subnetwork")
    text = " ".join(texts([body.get(key, "") for key in keys]))
    named = re.search(r"google_\w+\.(\w+)\.", text)
    assert named or "project" in body, body
    return named[1] if named else PROJECT
