"""What stands before an emulator and lets through only what an account may do.

    with front(bigquery.host, of_bigquery, access) as address: ...

It knows who calls by the address, as Google does by the token: one front an account.
"""

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from support.grants import PROJECT, Grant, allows
from support.servers.answering import Answer, AnsweringServer, forward, google_error, json_answer
from support.servers.permission_rules import Need, Request, of_storage, storage_object

Rules = Callable[[Request], list[Need]]


@dataclass
class Access:
    """What an account may do, and what it was seen doing.

    Attributes:
        account: that calls.
        grants: of all accounts.
        places: {what a call is about, as `bucket/NAME`: Terraform's name of it}.
        accounts: {e-mail: Terraform's name of the account}.
        needed: (account, permission, on what) of all calls, Terraform's names.
        refused: those of them that were not granted.
        jobs: {id of a BigQuery job: the account that began it}.
    """

    account: str
    grants: frozenset[Grant]
    places: Mapping[str, str]
    accounts: Mapping[str, str]
    needed: set[tuple[str, str, str]] = field(default_factory=set)
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)

    def missing(self, needs: list[Need]) -> Need | None:
        """The first need that is not granted."""
        for need in needs:
            account = self.account if need.account is None else self.accounts[need.account]
            if not self._granted(account, need.permission, need.on):
                self.refused.add((account, need.permission, self._place(need.on)))
                return need
        return None

    def allows(self, permission: str, on: str) -> bool:
        """For calls that ask what the account may do."""
        return self._granted(self.account, permission, on)

    def _granted(self, account: str, permission: str, on: str) -> bool:
        named = (account, permission, self._place(on))
        self.needed.add(named)
        return allows(self.grants, *named)

    def _place(self, on: str) -> str:
        kind, _, name = on.partition("/")
        if kind == "account":
            return self.accounts[name]
        if kind == "image":
            return "images"
        return PROJECT if on == PROJECT else self.places[on]


@contextlib.contextmanager
def storage_front(target: str, access: Access) -> Iterator[str]:
    """Before Cloud Storage; its address."""
    host = urllib.parse.urlsplit(target).netloc

    def exists(request: Request) -> bool:
        bucket, name = storage_object(request)
        quoted = urllib.parse.quote(name, safe="")
        path = f"/storage/v1/b/{bucket}/o/{quoted}"
        return bool(name) and forward(host, "GET", path, {}, b"")[0] == 200

    def answer(request: Request, headers: dict[str, str]) -> Answer:
        bucket, name = storage_object(request)
        on = f"bucket/{bucket}"
        if request.parts[-1] == "testPermissions":
            query = urllib.parse.urlsplit(request.path).query
            asked = [v for k, v in urllib.parse.parse_qsl(query) if k == "permissions"]
            return json_answer({"permissions": [p for p in asked if access.allows(p, on)]})
        need = access.missing(of_storage(request, request.method == "POST" and exists(request)))
        # Whether an object is missing is told to those who may list the others.
        if need is None and request.method == "GET" and name and not exists(request):
            need = access.missing([Need("storage.objects.list", on)])
        if need is not None:
            return _refusal(f"the account does not have {need.permission} access")
        return forward(host, request.method, request.path, headers, request.body)

    with _serve(answer) as address:
        yield address


@contextlib.contextmanager
def front(target: str, rules: Rules, access: Access) -> Iterator[str]:
    """Before BigQuery or Dataflow; its address.

    Args:
        target: address of the emulator.
        rules: what a call needs.
        access: of the account that calls here.
    """
    host = urllib.parse.urlsplit(target).netloc

    def answer(request: Request, headers: dict[str, str]) -> Answer:
        needs = rules(request)
        job = request.json.get("jobReference", {}).get("jobId")
        if job:
            access.jobs.setdefault(job, access.account)
        seen = re.search(r"/(?:jobs|queries)/([^/?]+)", request.path)
        if seen and access.jobs.get(seen[1], access.account) != access.account:
            # Who may not ask looks at the rows instead: nobody needs this.
            return _refusal(f"Access Denied: Permission bigquery.jobs.get denied on {seen[1]}")
        need = access.missing(needs)
        if need is not None:
            who = "" if need.account is None else f" for {need.account}"
            return _refusal(f"Access Denied: Permission {need.permission} denied{who}")
        return forward(host, request.method, request.path, headers, request.body)

    with _serve(answer) as address:
        yield address


def _refusal(message: str) -> Answer:
    return google_error(403, "accessDenied", message)


@contextlib.contextmanager
def _serve(answer: Callable[[Request, dict[str, str]], Answer]) -> Iterator[str]:
    server = AnsweringServer(
        lambda method, path, headers, body: answer(Request(method, path, body), headers)
    )
    try:
        yield f"http://localhost:{server.server_port}"  # Beam takes no other from Dataflow
    finally:
        server.stop()
