"""The commands of an approval: a key, a signed word, and the release that wants it."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate.errors import BadInput

Run = Annotated[
    Path, typer.Argument(help="a run directory, or NAME/approvals/RUN of the model store")
]
KeyFile = Annotated[
    Path,
    typer.Option("--key", envvar="TIDEGATE_APPROVAL_KEY", help="ed25519 private key, a PEM file"),
]


def approver(
    name: Annotated[str, typer.Argument(help="the approver's name")],
    key: KeyFile,
) -> None:
    """Print an approver's line for `rollout.approvers`; makes the key if the file is not there."""
    from tidegate.rollout.approval import new_private_key, public_key_of

    pem = key.read_bytes() if key.exists() else new_private_key(key)
    typer.echo(f"rollout:\n  approvers:\n    {name}: {public_key_of(pem)}")


def approve(
    run: Run,
    by: Annotated[str, typer.Option(help="the approver's name in rollout.approvers")],
    reason: Annotated[str, typer.Option(help="why this model may act on posts")],
    key: KeyFile,
) -> None:
    """Sign the approval of a run's candidate; `tidegate release` then puts it in service."""
    from tidegate.rollout.approval import APPROVAL, check_approval, read_request, sign_approval
    from tidegate.store import write_record

    request = read_request(run)
    if (run / APPROVAL).exists():
        mend = "remove it to approve again"
        raise BadInput(str(run / APPROVAL), "the run is approved already", mend)
    if not key.is_file():
        raise BadInput("--key", f"{key} is no file", "make one: tidegate approver NAME --key FILE")
    approval = sign_approval(request, by=by, reason=reason, key=key.read_bytes())
    approvers = _approvers_of(run)
    if approvers is not None:
        # Told now rather than at the release, which asks its own configuration.
        check_approval(approval, request, approvers)
    write_record(run / APPROVAL, approval)
    typer.echo(f"{by} approved {request.name} {request.candidate}; wrote {run / APPROVAL}")


def release(
    run: Run,
    config: Annotated[
        Path, typer.Option(help="configuration that names the approvers and the model store")
    ],
) -> None:
    """Put an approved candidate in service, and write into the audit record who approved it."""
    from tidegate.config import load_config
    from tidegate.rollout.approval import release_approved
    from tidegate.rollout.model_store import ModelStore

    settings = load_config(config)
    store = ModelStore(Path(settings.rollout.model_store or _store_of(run.resolve())))
    done, approval = release_approved(store, run, settings.rollout.approvers)
    _note(run, approval.by, approval.approved_at, approval.reason)
    typer.echo(f"{done.name}: version {done.version} is in service, approved by {approval.by}")


def _store_of(run: Path) -> Path:
    """Return the model store that a run directory, or a folder in the store itself, goes with."""
    in_store = run.parent.name == "approvals"
    return run.parents[2] if in_store else run.parent / ".tidegate" / "models"


def _approvers_of(run: Path) -> dict[str, str] | None:
    from tidegate.store import read_json

    if not (run / "run.json").exists():
        return None
    found: dict[str, str] = read_json(run / "run.json")["config"]["rollout"]["approvers"]
    return found


def _note(run: Path, by: str, at: str, reason: str) -> None:
    """Write the approval into a run directory's audit record, model card and report."""
    from tidegate.evaluation.model_card import model_card
    from tidegate.evaluation.report import approved_page
    from tidegate.records import Approval, AuditRecord
    from tidegate.store import read_record, write_record, write_text

    if not (run / "audit.json").exists():
        return
    audit = read_record(run / "audit.json", AuditRecord)
    approval = Approval(approved_by=by, approved_at=at, note=reason)
    audit = audit.model_copy(update={"approval": approval})
    write_record(run / "audit.json", audit)
    write_text(run / "model_card.md", model_card(audit))
    page = run / "report.html"
    if page.exists():
        write_text(page, approved_page(page.read_text(encoding="utf-8"), approval))
