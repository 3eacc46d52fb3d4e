"""`reconcile auth check`: tries an authorization against the real system, with the uses that its jobs make of it.

The spec is read from disk, so that an authorization can be tried before any pass. Secrets are resolved here and nowhere
else outside a run; what the provider says or prints is redacted before it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, allow_exec_option, command
from reconciler.cli.specs import Specs, declared_specs
from reconciler.cli.terminal import escape
from reconciler.errors import ReconcileError, SpecInvalid, UsageError

if TYPE_CHECKING:
    from reconciler.core.document import Document
    from reconciler.core.provider import Provider, Secret

auth = click.Group(
    "auth",
    help="Try authorizations against the real systems.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


@command("check", click.Argument(["name"]), allow_exec_option())
def check(call: Call, name: str) -> int:
    """Try an authorization against the real system.

    Nothing is changed there. The exit code is 1 where the check fails.
    """
    from reconciler.providers import catalogue

    call.need_root()
    specs = declared_specs(call)
    document = _authorization(call, specs, name)
    provider = catalogue()[document.spec["provider"]]
    found, works = try_authorization(call, specs, document, provider)
    word = call.terminal.paint("ok", "green") if works else call.terminal.paint("failed", "red")
    call.terminal.print(f"{escape(name)}: {word}: {escape(found)}")
    return 0 if works else 1


auth.add_command(check)


def _authorization(call: Call, specs: Specs, name: str) -> Document:
    problems = specs.problems_of("Authorization", name)
    if problems:
        raise SpecInvalid(problems)
    declared = {one.name: one for one in specs.documents if one.kind == "Authorization"}
    if name not in declared:
        raise UsageError(f"no spec below {call.root} declares an authorization '{name}'{suggestion(name, declared)}")
    return declared[name]


def try_authorization(call: Call, specs: Specs, document: Document, provider: Provider) -> tuple[str, bool]:
    """What was found, redacted, and whether the authorization works."""
    from reconciler.core.redact import Redactor
    from reconciler.secrets.references import resolve

    if provider.check is None:
        return f"the provider {provider.name} has no check; nothing was tried", True
    references: Mapping[str, Any] = document.spec.get("credentials", {})
    folder = call.settings(record=False).folder_of(document.path)
    try:
        secrets: Mapping[str, Secret] = resolve(references, base_dir=folder, allow_exec=call.allows_exec())
    except ReconcileError as error:
        return str(error), False
    redactor = Redactor(secrets)
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        found, works = _checked(provider, document, secrets, _uses(specs, document.name))
    for line in redactor.redact(printed.getvalue()).splitlines():
        call.terminal.warn(escape(line))
    return redactor.redact(found), works


def _checked(
    provider: Provider,
    document: Document,
    secrets: Mapping[str, Secret],
    uses: Sequence[tuple[str, Mapping[str, Any]]],
) -> tuple[str, bool]:
    assert provider.check is not None
    try:
        return str(provider.check(document.spec.get("method", ""), secrets, uses)), True
    except ReconcileError as error:
        return str(error), False
    except Exception as error:
        return f"the provider's check broke off: {type(error).__name__}: {error}", False


def _uses(specs: Specs, name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """What the jobs that refer to the authorization do with it."""
    return [
        (one.spec["jobType"], one.spec.get("config", {}))
        for one in specs.documents
        if one.kind == "Job" and one.spec.get("authorization") == name
    ]
