"""A new threshold for the model in service, after the share of violating posts has moved.

Nothing is trained. The threshold is chosen anew on the labelled rows that the bundle brings with
it, for the prevalence that the window's scores tell, or is the one for the next window where
`monitor.trigger.renew_threshold` asks for that. It is held against the labels that came back since.
What keeps the promise is the same model in a bundle of its own version, and goes the way that any
release goes. A refusal is a result.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tidegate.config import RunConfig
from tidegate.errors import BadInput, Conflict
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.prior_shift import offer_threshold
from tidegate.evaluation.sequential import share_bounds
from tidegate.models.bundle import DRIFT_REFERENCE, read_manifest, with_decision_rule
from tidegate.monitoring.served_window import labelled_rows, read_labels, read_served
from tidegate.records import (
    SCORE,
    BundleManifest,
    Interval,
    NextWindow,
    PriorShift,
    RemedyRequest,
    ThresholdUpdate,
)
from tidegate.rollout.approval import REQUEST, release_or_ask, request_approval, request_folder
from tidegate.rollout.backend import ReleaseBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.root_cause import keep_made
from tidegate.rollout.transitions import begin
from tidegate.store import digest_json, new_directory, read_record, read_table, write_record

UPDATE = "update.json"
_BUNDLE = "bundle"
_ACTOR = "trigger"
_TRIES = 5


class _Refused(Exception):
    """Why there is no other threshold."""


class _Choice(NamedTuple):
    """A threshold, what it keeps and with which figures, in words."""

    threshold: float
    keeps: str
    figures: str
    prevalence: float | None = None


class _Recheck(NamedTuple):
    flagged: int
    precision: Interval | None


def update_threshold(
    store: ModelStore,
    config: RunConfig,
    request: RemedyRequest,
    *,
    now: datetime,
    backend: ReleaseBackend | None = None,
) -> ThresholdUpdate:
    """Give the model in service the threshold that its moved prevalence asks for, or say why not.

    A request is carried out once, however often it is asked for: what came of it is kept under
    ``NAME/threshold_updates/REQUEST/`` of the store.

    Parameters
    ----------
    store : ModelStore
        Holds the bundle in service.
    config : RunConfig
        The promise (`policy`), the labels that came back (`monitor.labels`) and who approves.
    request : RemedyRequest
        Its evidence names the bundle's version and the `PriorShift` that was seen, or the
        `NextWindow`.
    now : datetime
        With a time zone.
    backend : ReleaseBackend, optional
        Of the cluster, whose controller then steps the release; without it the store's pointer
        moves at once.

    Raises
    ------
    BadInput
        If nothing is in service, or its bundle, the log or the labels cannot be read.
    """
    folder = store.folder_of(config.name) / "threshold_updates" / request.name
    update = _kept(folder)
    if update is None:
        update = _decided(store, config, request, folder, now)
    if update.outcome == "decided":
        update = _released(store, config, update, folder, now, backend)
        write_record(folder / UPDATE, update)
    return update


def _kept(folder: Path) -> ThresholdUpdate | None:
    try:
        return read_record(folder / UPDATE, ThresholdUpdate)
    except FileNotFoundError:
        return None
    except ValidationError:
        mend = "remove its folder to decide anew"
        raise BadInput(str(folder / UPDATE), "is not what a trigger left", mend) from None


def _decided(
    store: ModelStore, config: RunConfig, request: RemedyRequest, folder: Path, now: datetime
) -> ThresholdUpdate:
    """Choose, recheck and write down; with a threshold the bundle too."""
    release = store.current(config.name)
    if release is None:
        mend = "release one, or run the trigger where rollout.model_store is"
        raise BadInput(str(store.folder), f"no version of {config.name!r} is in service", mend)
    source = store.bundle_folder(release)
    manifest = read_manifest(source)
    update = ThresholdUpdate(
        request=request.name,
        model=config.name,
        outcome="refused",
        says="",
        version_before=manifest.version,
        threshold_before=manifest.threshold,
        min_precision=config.policy.min_precision,
    )
    try:
        update = _chosen(update, source, manifest, config, request, now)
    except _Refused as refusal:
        update = update.model_copy(update={"says": f"no other threshold: {refusal}"})
    with new_directory(folder) as scratch:
        if update.outcome == "decided":
            written = with_decision_rule(
                source,
                scratch / _BUNDLE,
                threshold=update.threshold,
                min_precision=config.policy.min_precision,
                confidence=config.policy.confidence,
                rule=manifest.rule.model_copy(
                    update={"review_threshold": _review(manifest, update.threshold)}
                ),
            )
            update = update.model_copy(update={"version": written.version})
        write_record(scratch / UPDATE, update)
    return update


def _chosen(
    update: ThresholdUpdate,
    source: Path,
    manifest: BundleManifest,
    config: RunConfig,
    request: RemedyRequest,
    now: datetime,
) -> ThresholdUpdate:
    _check_request(manifest, config, request)
    renewed = config.monitor.trigger.renew_threshold is not None
    new = (
        _for_next_window(config, request)
        if renewed
        else _for_prevalence(source, manifest, config, request)
    )
    update = update.model_copy(update={"prevalence_assumed": new.prevalence})
    if manifest.threshold is not None and abs(new.threshold - manifest.threshold) < 1e-9:
        says = f"the threshold in service, {new.threshold:.4f}, is the one that {new.keeps}"
        return update.model_copy(
            update={"outcome": "kept", "threshold": new.threshold, "says": says}
        )
    recheck = _recheck(manifest, config, request, new.threshold, now)
    if recheck.precision is not None and recheck.precision[1] < config.policy.min_precision:
        low, high = recheck.precision
        raise _Refused(
            f"{new.threshold:.4f} {new.keeps}, but of {recheck.flagged} labelled rows that it "
            f"flags {low:.3f} to {high:.3f} violate"
        )
    before = "none" if manifest.threshold is None else f"{manifest.threshold:.4f}"
    return update.model_copy(
        update={
            "outcome": "decided",
            "threshold": new.threshold,
            "labelled_flagged": recheck.flagged,
            "labelled_precision": recheck.precision,
            "says": f"threshold {new.threshold:.4f} instead of {before} {new.keeps} "
            f"({new.figures})",
        }
    )


def _for_prevalence(
    source: Path, manifest: BundleManifest, config: RunConfig, request: RemedyRequest
) -> _Choice:
    """Choose for the share of violating posts that a window's scores tell."""
    try:
        shift = PriorShift.model_validate(request.evidence["prior"])
    except (KeyError, ValidationError):
        raise _Refused("the request does not say how far the prevalence has moved") from None
    try:
        rows = rows_of(read_table(source / DRIFT_REFERENCE), "drift reference")
    except (FileNotFoundError, BadInput) as error:
        raise _Refused(f"the bundle's reference has no labelled rows ({error})") from None
    try:
        offer = offer_threshold(rows, shift, policy=config.policy, threshold=manifest.threshold)
    except ValueError as error:
        raise _Refused(str(error)) from None
    promise = f"precision {config.policy.min_precision:g}"
    keeps = f"keeps {promise} at a prevalence of {offer.prevalence_assumed:.4f}"
    if offer.offered is None:
        raise _Refused(f"none of the reference's {keeps}; the model has to learn")
    new = offer.offered
    figures = (
        f"precision {new.precision:.3f}, at least {new.precision_lower_bound:.3f}; "
        f"recall {new.recall:.3f}"
    )
    return _Choice(new.value, keeps, figures, offer.prevalence_assumed)


def _for_next_window(config: RunConfig, request: RemedyRequest) -> _Choice:
    """Take what the monitor found for the posts that come next."""
    try:
        found = NextWindow.model_validate(request.evidence["next_window"])
    except (KeyError, ValidationError):
        raise _Refused("the request does not say which threshold the next window needs") from None
    figures = (
        f"its precision likely above {found.precision_lower_bound:.3f}, {found.precision:.3f} "
        f"expected; recall {found.recall:.3f}"
    )
    floor = config.policy.min_precision
    verb = "keeps" if found.precision_lower_bound >= floor else "comes nearest to"
    return _Choice(found.threshold, f"{verb} precision {floor:g} in the next window", figures)


def _check_request(manifest: BundleManifest, config: RunConfig, request: RemedyRequest) -> None:
    """Refuse a request that no single threshold of this bundle can answer."""
    evidence = request.evidence
    if config.policy.objective != "max_recall":
        raise _Refused(
            f"policy.objective {config.policy.objective} does not promise precision, which alone "
            "moves with prevalence"
        )
    if manifest.rule.segment_thresholds or manifest.rule.class_thresholds:
        raise _Refused("segments or classes have thresholds of their own, which a retrain sets")
    if evidence.get("segment") is not None:
        raise _Refused(f"the prevalence of segment {evidence['segment']!r} alone has moved")
    version = evidence.get("bundle_version")
    if version is not None and version != manifest.version:
        raise _Refused(f"it was noticed about {version}, and {manifest.version} is in service")


def _review(manifest: BundleManifest, threshold: float | None) -> float | None:
    """Return where review begins; nowhere, if posts would be flagged before."""
    review = manifest.rule.review_threshold
    return None if review is None or threshold is None or review >= threshold else review


def _recheck(
    manifest: BundleManifest,
    config: RunConfig,
    request: RemedyRequest,
    threshold: float,
    now: datetime,
) -> _Recheck:
    """Measure the new threshold on the labels that came back for what was served lately."""
    watch, log = config.monitor, config.serving.payload_log.uri
    if watch.labels is None or log is None:
        return _Recheck(0, None)
    served = read_served(
        log,
        _since(request, config, now),
        now,
        columns=(),
        versions=manifest.same_scores,
        late_hours=watch.late_hours,
        max_rows=watch.watched_rows,
        seed=watch.seed,
    )
    rows: Any = labelled_rows(served.frame, read_labels(watch.labels)[0])[0]
    flagged = rows["label"][rows[SCORE] >= threshold]
    if not len(flagged):
        return _Recheck(0, None)
    low, high = share_bounds(float(flagged.sum()), len(flagged), 1 - watch.confidence)
    return _Recheck(len(flagged), (float(low), float(high)))


def _since(request: RemedyRequest, config: RunConfig, now: datetime) -> datetime:
    """Return the begin of the longest window that ended with the request's."""
    length = timedelta(days=config.monitor.scales[-1] * config.monitor.window_days)
    try:
        until = datetime.fromisoformat(request.window)
    except ValueError:
        return now - length
    return (until if until.tzinfo is not None else until.replace(tzinfo=now.tzinfo)) - length


def _released(
    store: ModelStore,
    config: RunConfig,
    update: ThresholdUpdate,
    folder: Path,
    now: datetime,
    backend: ReleaseBackend | None,
) -> ThresholdUpdate:
    """Send a decided bundle on its way: at once, in steps, or to whoever approves it."""
    bundle, version = folder / _BUNDLE, str(update.version)
    run = digest_json(["threshold_update", update.request, version])

    def ended(outcome: str, says: str) -> ThresholdUpdate:
        return update.model_copy(update={"outcome": outcome, "says": f"{update.says}; {says}"})

    made = store.folder_of(config.name) / "made"
    keep_made(made / update.version_before, made / version)
    if config.rollout.approval == "manual":
        asked = request_approval(store, bundle, run_digest=run, now=now)
        where = request_folder(store, config.name, run)
        if backend is not None:
            # `tidegate rollout start` reads the request and the bundle from one folder.
            write_record(folder / REQUEST, asked)
            where = folder
        return ended("approval_asked", f"{version} waits for an approval: tidegate approve {where}")
    if backend is None:
        release_or_ask(store, bundle, run_digest=run, approval="auto")
        current = store.current(config.name)
        if current is not None and current.version == version:
            return ended("in_service", f"{version} is in service")
        return ended("release_under_way", f"{version} is kept: another release is under way")
    store.keep(bundle)
    if not _begun(backend, config, update, version, run, now):
        return ended("release_under_way", f"{version} is kept: another release is under way")
    return ended("release_begun", f"the release of {version} has begun")


def _begun(
    backend: ReleaseBackend,
    config: RunConfig,
    update: ThresholdUpdate,
    version: str,
    run_digest: str,
    now: datetime,
) -> bool:
    """Begin the release unless another one is under way; one of ours that began counts."""
    for _ in range(_TRIES):
        found = backend.read_state()
        if found is not None and found[0].run_digest == run_digest:
            return True
        if found is not None and not found[0].is_over:
            return False
        state, events = begin(
            name=config.name,
            baseline=update.version_before,
            candidate=version,
            run_digest=run_digest,
            config=config.rollout,
            actor=_ACTOR,
            now=now,
        )
        state = state.model_copy(update={"outbox": events})
        try:
            backend.write_state(state, revision=None if found is None else found[1])
        except Conflict:
            continue
        return True
    raise Conflict(f"the release of {config.name} was changed {_TRIES} times; try again")
