"""The local model store: released bundles, and the pointer to the one in service.

Layout, under the store's folder: ``NAME/versions/VERSION/`` (a bundle, never changed),
``NAME/current.json`` (the `Release` in service) and ``NAME/history.jsonl`` (every `Release`,
roll-backs included, oldest first; lines are only ever added).
"""

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.models.bundle import read_manifest
from tidegate.records import BundleManifest, Release
from tidegate.store import new_directory, read_record, write_record, write_text

#: Where a store is that no configuration names.
DEFAULT_STORE = Path("runs") / ".tidegate" / "models"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ModelStore:
    """Released bundles under one folder.

    A release is a copy, a check of the copy's digests, and one atomic replacement of
    ``current.json``; a crash before that last step leaves the old version in service. Writers of
    one name wait for each other on a file lock; readers need none.

    Parameters
    ----------
    folder : Path
        Created by the first release.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def release(self, bundle: Path, *, run_digest: str) -> Release:
        """Copy a bundle into the store and put it in service.

        When its version is in service already nothing changes, whichever run made it: the
        release in service still says how it came there.

        Parameters
        ----------
        bundle : Path
            Bundle folder, with ``bundle.json``.
        run_digest : str
            Digest of the run that made it.

        Raises
        ------
        BadInput
            If the bundle is not whole.
        """
        manifest = read_manifest(bundle)
        with self._locked(manifest.name):
            current = self.current(manifest.name)
            self._keep_version(bundle, manifest)
            if current is not None and current.version == manifest.version:
                return current
            release = Release(
                name=manifest.name,
                version=manifest.version,
                run_digest=run_digest,
                released_at=_now(),
                previous=None if current is None else current.version,
                source_digest=manifest.source_digest,
            )
            self._put_in_service(release)
            return release

    def keep(self, bundle: Path) -> BundleManifest:
        """Copy a bundle into the store and leave the version in service as it is.

        Raises
        ------
        BadInput
            If the bundle is not whole.
        """
        manifest = read_manifest(bundle)
        with self._locked(manifest.name):
            self._keep_version(bundle, manifest)
        return manifest

    def put_in_service(self, name: str, version: str, *, run_digest: str | None = None) -> Release:
        """Put a kept version in service; nothing changes when it is already.

        Parameters
        ----------
        name, version : str
            A version that the store keeps.
        run_digest : str, optional
            Digest of the run that made it; the one under which it was last in service without it.

        Raises
        ------
        BadInput
            If the version is not kept, or damaged.
        """
        with self._locked(name):
            current = self.current(name)
            if current is not None and current.version == version:
                return current
            known = [e for e in self.history(name) if e.version == version]
            manifest = self._require_kept(name, version)
            release = Release(
                name=name,
                version=version,
                run_digest=run_digest or (known[-1].run_digest if known else ""),
                released_at=_now(),
                previous=None if current is None else current.version,
                source_digest=manifest.source_digest,
            )
            self._put_in_service(release)
            return release

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions that are kept, oldest copy first."""
        folder = self._home(name) / "versions"
        if not folder.is_dir():
            return ()
        kept = [p for p in folder.iterdir() if not p.name.startswith(".")]
        return tuple(p.name for p in sorted(kept, key=lambda p: (p.stat().st_mtime, p.name)))

    def forget_old(self, name: str, *, kept_versions: int, needed: frozenset[str]) -> list[str]:
        """Remove the oldest versions beyond a number; return which.

        Those that were in service and those that never were, as failed candidates, are counted
        apart: no row of failures pushes out the versions that one may return to.

        Parameters
        ----------
        name : str
            The model's name.
        kept_versions : int
            How many of each stay.
        needed : frozenset of str
            Versions that stay whatever their age, beside the one in service and the one before.
        """
        with self._locked(name):
            current = self.current(name)
            stay = set(needed)
            if current is not None:
                stay |= {current.version, current.previous or ""}
            served = {release.version for release in self.history(name)}
            gone: list[str] = []
            for was_served in (True, False):
                some = [v for v in self.versions(name) if (v in served) is was_served]
                surplus = max(0, len(some) - kept_versions)
                gone += [version for version in some if version not in stay][:surplus]
            for version in gone:
                shutil.rmtree(self._version_folder(name, version))
            return gone

    def rollback(self, name: str, to: str | None = None) -> Release:
        """Put the version before the one in service back, or any other that is kept.

        Raises
        ------
        BadInput
            If nothing is in service, nothing was before it, or that version is damaged or not
            kept.
        """
        if to is not None:
            return self.put_in_service(name, to)
        with self._locked(name):
            current = self.current(name)
            if current is None:
                raise BadInput(
                    str(self.folder), f"nothing is released as {name!r}", "release first"
                )
            before = self._predecessor(current)
            if before is None:
                raise BadInput(
                    str(self.folder / name),
                    f"no version was in service before {current.version}",
                    "release another version instead",
                )
            self.bundle_folder(before)
            release = before.model_copy(update={"released_at": _now()})
            self._put_in_service(release)
            return release

    def current(self, name: str) -> Release | None:
        """Return the release in service.

        Raises
        ------
        BadInput
            If ``current.json`` is damaged.
        """
        path = self._home(name) / "current.json"
        try:
            return read_record(path, Release)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise BadInput(
                str(path), "is not a release", "restore it from the last line of history.jsonl"
            ) from None

    def baseline(self, name: str, *, run_digest: str) -> Release | None:
        """Return what a run's candidate is compared with: the release that it did not make.

        That is the release in service or, when this very run made that one, the release before
        it; so an unchanged re-run meets the same baseline as the first time.
        """
        current = self.current(name)
        if current is None or current.run_digest != run_digest:
            return current
        return self._predecessor(current)

    def bundle_folder(self, release: Release) -> Path:
        """Return the folder of a release's bundle.

        Raises
        ------
        BadInput
            If it is missing or a file's digest is not the manifest's.
        """
        folder = self._version_folder(release.name, release.version)
        read_manifest(folder)
        return folder

    def folder_of(self, name: str) -> Path:
        """Return the folder of everything that is kept of a name."""
        return self._home(name)

    def history(self, name: str) -> tuple[Release, ...]:
        """Return every release of a name, roll-backs included, oldest first."""
        path = self._home(name) / "history.jsonl"
        if not path.exists():
            return ()
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            return tuple(Release.model_validate_json(line) for line in lines)
        except ValidationError:
            raise BadInput(str(path), "has a line that is no release", "restore the file") from None

    def _require_kept(self, name: str, version: str) -> BundleManifest:
        folder = self._version_folder(name, version)
        if not folder.is_dir():
            kept = ", ".join(self.versions(name)) or "none"
            raise BadInput(
                str(self._home(name)), f"keeps no version {version!r}", f"choose of: {kept}"
            )
        return read_manifest(folder)

    def _predecessor(self, release: Release) -> Release | None:
        """Return how the version before `release` last came into service."""
        if release.previous is None:
            return None
        entries = [e for e in self.history(release.name) if e.version == release.previous]
        return entries[-1] if entries else None

    def _put_in_service(self, release: Release) -> None:
        home = self._home(release.name)
        entries = list(self.history(release.name))
        current = self.current(release.name)
        # After a crash between the two writes below, the pointer is right and a line is missing.
        if current is not None and current not in entries[-1:]:
            entries.append(current)
        write_record(home / "current.json", release)
        lines = [entry.model_dump_json() for entry in (*entries, release)]
        write_text(home / "history.jsonl", "".join(f"{line}\n" for line in lines))

    def _keep_version(self, bundle: Path, manifest: BundleManifest) -> None:
        target = self._version_folder(manifest.name, manifest.version)
        # The version is a digest of the content: a whole copy under it is this bundle.
        with contextlib.suppress(BadInput):
            read_manifest(target)
            return
        with new_directory(target) as scratch:
            shutil.copytree(bundle, scratch, dirs_exist_ok=True)
            read_manifest(scratch)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        home = self._home(name)
        home.mkdir(parents=True, exist_ok=True)
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _home(self, name: str) -> Path:
        return self.folder / _safe(name)

    def _version_folder(self, name: str, version: str) -> Path:
        return self._home(name) / "versions" / _safe(version)


def _safe(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        raise BadInput(
            "model store",
            f"{name!r} cannot name a folder",
            "use letters, digits, dots, hyphens and underscores",
        )
    return name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
