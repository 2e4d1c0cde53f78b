"""Approval by a person: a request bound to one candidate of one run, and a signed answer.

A run of a configuration with ``approval: manual`` keeps its bundle in the model store and writes
``approval_request.json``. An approver signs it with an ed25519 key (RFC 8032), and a release takes
nothing but the signature of somebody whom the configuration names, over this very request.
"""

import base64
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.models.bundle import read_manifest
from tidegate.records import ApprovalRequest, Release, SignedApproval
from tidegate.rollout.ledger import release_under_way
from tidegate.rollout.model_store import ModelStore
from tidegate.store import digest_file, read_record, write_record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

logger = logging.getLogger(__name__)

REQUEST = "approval_request.json"
APPROVAL = "approval.json"

#: Keeps a signature from being taken for one over anything else.
_PURPOSE = b"tidegate approval 1\n"
_DIGITS = 16


def release_or_ask(
    store: ModelStore, bundle: Path, *, run_digest: str, approval: str
) -> Release | ApprovalRequest:
    """Put a promoted bundle in service if `rollout.approval` is auto; else ask for the approval.

    While a stepped release of that name is under way, the bundle is kept and what is in service
    stays: two releases at once would undo each other.

    Returns
    -------
    Release or ApprovalRequest
        What is in service now, or what was asked.

    Raises
    ------
    BadInput
        If the bundle is not whole.
    """
    if approval == "auto":
        name = read_manifest(bundle).name
        current, candidate = store.current(name), release_under_way(store, name)
        if candidate is not None and current is not None:
            version = store.keep(bundle).version
            logger.warning(
                "the release of %s is under way: %s is kept and %s stays in service; when that "
                "release is over: tidegate rollout start CONFIG RUN",
                candidate,
                version,
                current.version,
            )
            return current
        return store.release(bundle, run_digest=run_digest)
    return request_approval(store, bundle, run_digest=run_digest)


def request_approval(
    store: ModelStore, bundle: Path, *, run_digest: str, now: datetime | None = None
) -> ApprovalRequest:
    """Keep a run's bundle in the store, leave what is in service, and write the request there.

    The same candidate of the same run is asked for once: an approval that is there stays good.

    Parameters
    ----------
    store : ModelStore
        Keeps the bundle under ``versions`` and the request in `request_folder`.
    bundle : Path
        The run's bundle, whose decision was to promote.

    Raises
    ------
    BadInput
        If the bundle is not whole.
    """
    manifest = store.keep(bundle)
    kept = store.folder_of(manifest.name) / "versions" / manifest.version / "bundle.json"
    request = ApprovalRequest(
        name=manifest.name,
        run_digest=run_digest,
        candidate=manifest.version,
        decision="promote",
        requested_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        bundle_digest=digest_file(kept),
    )
    path = request_folder(store, manifest.name, run_digest) / REQUEST
    if path.exists():
        present = read_request(path.parent)
        if present.model_copy(update={"requested_at": request.requested_at}) == request:
            return present
    write_record(path, request)
    return request


def request_folder(store: ModelStore, name: str, run_digest: str) -> Path:
    """Return where the store keeps a run's request and its approval."""
    return store.folder_of(name) / "approvals" / run_digest[:_DIGITS]


def read_request(folder: Path) -> ApprovalRequest:
    """Read the request in a run directory, or in the store's folder for the run.

    Raises
    ------
    BadInput
        If there is none, or it is no request.
    """
    path = folder / REQUEST
    try:
        return read_record(path, ApprovalRequest)
    except FileNotFoundError:
        raise BadInput(
            str(folder),
            "asks for no approval",
            "name a run that ended with promote under rollout.approval: manual",
        ) from None
    except ValidationError:
        raise BadInput(str(path), "is no approval request", "run the pipeline again") from None


def sign_approval(
    request: ApprovalRequest, *, by: str, reason: str, key: bytes, now: datetime | None = None
) -> SignedApproval:
    """Return an approver's signed word.

    Parameters
    ----------
    by : str
        The approver's name in `rollout.approvers`.
    key : bytes
        An ed25519 private key in PEM.

    Raises
    ------
    BadInput
        If there is no name, no reason, or the key is another one.
    """
    for where, text in (("--by", by), ("--reason", reason)):
        if not text.strip():
            raise BadInput(where, "is empty", "write who approves, and why")
    unsigned = SignedApproval(
        request=request,
        by=by,
        reason=reason,
        approved_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        signature="",
    )
    signature = _private_key(key).sign(_message(unsigned))
    return unsigned.model_copy(update={"signature": base64.b64encode(signature).decode()})


def check_approval(
    approval: SignedApproval, request: ApprovalRequest, approvers: Mapping[str, str]
) -> None:
    """Refuse an approval that is not a known approver's over this very request.

    Parameters
    ----------
    approvers : mapping
        Name to public key, base64 of its 32 bytes, from the configuration.

    Raises
    ------
    BadInput
        If it is for another run or candidate, of somebody unknown, or altered.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for field, value in request.model_dump().items():
        found = getattr(approval.request, field)
        if found != value:
            problem = f"approves {field} {found!r}, and what is to be released has {value!r}"
            raise BadInput("approval", problem, "approve this run")
    if approval.by not in approvers:
        known = ", ".join(sorted(approvers)) or "nobody"
        problem = f"{approval.by!r} is no approver; rollout.approvers names {known}"
        raise BadInput("approval", problem, "let one of them approve, or add the public key")
    try:
        public = Ed25519PublicKey.from_public_bytes(
            base64.b64decode(approvers[approval.by], validate=True)
        )
    except ValueError:
        where = f"rollout.approvers.{approval.by}"
        mend = "write what `tidegate approver` prints"
        raise BadInput(where, "is no ed25519 public key in base64", mend) from None
    try:
        public.verify(base64.b64decode(approval.signature, validate=True), _message(approval))
    except (InvalidSignature, ValueError):
        problem = f"was not signed like this with the key of {approval.by}"
        raise BadInput("approval", problem, "approve the run again") from None


def read_approval(folder: Path, approvers: Mapping[str, str]) -> SignedApproval:
    """Return the approval beside a request, checked.

    Raises
    ------
    BadInput
        If nobody approved, or `check_approval` refuses.
    """
    request = read_request(folder)
    path = folder / APPROVAL
    try:
        approval = read_record(path, SignedApproval)
    except FileNotFoundError:
        mend = f"tidegate approve {folder} --by NAME --reason … --key FILE"
        raise BadInput(str(folder), f"nobody approved {request.candidate}", mend) from None
    except ValidationError:
        raise BadInput(str(path), "is no approval", "approve the run again") from None
    check_approval(approval, request, approvers)
    return approval


def release_approved(
    store: ModelStore, folder: Path, approvers: Mapping[str, str]
) -> tuple[Release, SignedApproval]:
    """Put the approved candidate of a run in service.

    An approval is good for one time in service: a candidate that was taken out again needs another.

    Parameters
    ----------
    folder : Path
        Has the request and the approval: a run directory, or `request_folder`.

    Raises
    ------
    BadInput
        If it is not approved, or the store's bundle is not the one that the request was for.
    """
    approval = read_approval(folder, approvers)
    request = approval.request
    kept = store.folder_of(request.name) / "versions" / request.candidate
    if not kept.is_dir() and (folder / "bundle").is_dir():
        store.keep(folder / "bundle")
    if not kept.is_dir():
        mend = "name the model store of the run, or run the pipeline again"
        raise BadInput(str(kept), "the store does not keep the candidate", mend)
    candidate = release_under_way(store, request.name)
    if candidate is not None:
        mend = "wait for its end, or: tidegate rollout abort"
        raise BadInput("rollout", f"the release of {candidate} is not over", mend)
    read_manifest(kept)
    if digest_file(kept / "bundle.json") != request.bundle_digest:
        raise BadInput(str(kept), "is not the bundle that was approved", "run the pipeline again")
    served = [r for r in store.history(request.name) if r.version == request.candidate]
    current = store.current(request.name)
    in_service = current is not None and current.version == request.candidate
    approved_at = datetime.fromisoformat(approval.approved_at)
    if not in_service and any(datetime.fromisoformat(r.released_at) > approved_at for r in served):
        problem = f"{request.candidate} was in service by this approval and taken out again"
        raise BadInput("approval", problem, f"remove {folder / APPROVAL} and approve again")
    release = store.put_in_service(request.name, request.candidate, run_digest=request.run_digest)
    return release, approval


def public_key_of(key: bytes) -> str:
    """Return the public key of a private one, as `rollout.approvers` has it.

    Raises
    ------
    BadInput
        If it is no ed25519 private key in PEM.
    """
    return base64.b64encode(_private_key(key).public_key().public_bytes_raw()).decode()


def new_private_key(path: Path) -> bytes:
    """Make an ed25519 key and write it as PEM, for its owner's eyes only.

    Raises
    ------
    BadInput
        If the file is there already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if path.exists():
        raise BadInput(str(path), "exists already", "choose another name")
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(pem)
    return pem


def _private_key(pem: bytes) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    mend = "make one: tidegate approver NAME --key FILE"
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadInput("--key", "is encrypted", "decrypt it: openssl pkey -in FILE") from None
    except ValueError:
        raise BadInput("--key", "is no private key in PEM", mend) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput("--key", "is no ed25519 key", mend)
    return key


def _message(approval: SignedApproval) -> bytes:
    """Return what is signed: every field but the signature, as canonical JSON."""
    fields = approval.model_dump(mode="json", exclude={"signature"})
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _PURPOSE + text.encode()
