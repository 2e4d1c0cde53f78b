"""One connection to the Kubeflow Pipelines API: signed, repeated while safe, each fault one line.

``kfp.Client`` prints links, warns at every start, keeps settings in the user's home and waits five
times five seconds for an address that nobody answers, so this stands on ``kfp_server_api``.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tidegate.errors import BadInput

#: Waits between attempts; a server's own Retry-After is heeded up to the last of them.
RETRY_DELAYS_SECONDS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

#: Bearer token of the account that submits; in a pod, the projected token is found by itself.
TOKEN_VARIABLE = "TIDEGATE_KFP_TOKEN"
_TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_POD_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"

T = TypeVar("T")


class _Unavailable(Exception):
    """The server may answer if asked again; without a status nobody answered at all."""

    def __init__(self, problem: str, status: int | None = None, wait_seconds: float = 0.0) -> None:
        super().__init__(problem)
        self.status = status
        self.wait_seconds = wait_seconds


class _Conflict(Exception):
    """The server says that the thing exists already."""


class _Gone(Exception):
    """The server knows no such thing."""


class KfpConnection:
    """Makes calls of ``kfp_server_api`` and turns their faults into `BadInput`.

    Parameters
    ----------
    endpoint : str
        Address of the API.
    timeout_seconds : float
        How long one call may take.

    Raises
    ------
    BadInput
        If the address is not one.
    """

    def __init__(self, endpoint: str, *, timeout_seconds: float) -> None:
        import kfp_server_api as kfp

        if not endpoint.startswith(("http://", "https://")):
            mend = f"write http://{endpoint} or https://{endpoint}"
            raise BadInput("--endpoint", f"{endpoint!r} is not a web address", mend)
        self.endpoint = endpoint.rstrip("/")
        self._timeout = (timeout_seconds, timeout_seconds)
        self._api_exception = kfp.ApiException
        self._configuration = kfp.Configuration(host=self.endpoint)
        # Which calls may be repeated is known here, not in the connection pool.
        self._configuration.retries = False
        self._configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE")
        self.client = kfp.ApiClient(self._configuration)

    def ask(
        self, what: str, call: Callable[..., T], *words: str, patient: bool = True, **options: Any
    ) -> T:
        """Make a call that may be repeated, and repeat it while the server cannot answer.

        Parameters
        ----------
        what : str
            What it does, for the message, as in "could not WHAT".
        call : callable
            A method of ``kfp_server_api``; it gets `words`, `options` and the time-out.
        patient : bool
            Whether to try again when nobody answers at all.
        """
        for delay in (*RETRY_DELAYS_SECONDS, None):
            try:
                return self._once(what, call, *words, **options)
            except (_Conflict, _Gone) as error:
                raise self._refused(what, str(error)) from None
            except _Unavailable as error:
                if delay is None or (error.status is None and not patient):
                    self._give_up(what, error)
                time.sleep(max(delay, error.wait_seconds))
        raise AssertionError("the last attempt returns or raises")

    def make(
        self,
        what: str,
        find: Callable[[], str | None],
        create: Callable[..., Any],
        *words: Any,
        id_key: str,
        **options: Any,
    ) -> str:
        """Create a thing once: after a lost answer or a conflict, look before trying again.

        Parameters
        ----------
        what : str
            What it does, for the message.
        find : callable
            Returns the id of the thing if it is there.
        create : callable
            A method of ``kfp_server_api`` that creates it.
        id_key : str
            Attribute of what `create` returns that holds the id.
        """
        for delay in (*RETRY_DELAYS_SECONDS, None):
            found = find()
            if found is not None:
                return found
            try:
                made = getattr(self._once(what, create, *words, **options), id_key)
            except _Gone as error:
                raise self._refused(what, str(error)) from None
            except _Conflict as error:
                if delay is None:
                    raise self._refused(what, str(error)) from None
                time.sleep(delay)
            except _Unavailable as error:
                if delay is None:
                    self._give_up(what, error)
                time.sleep(max(delay, error.wait_seconds))
            else:
                if not isinstance(made, str):
                    raise self.not_kfp()
                return made
        raise AssertionError("the last attempt returns or raises")

    def remove(self, what: str, call: Callable[..., Any], thing_id: str) -> None:
        """Delete a thing; one that is gone already is deleted."""
        for delay in (*RETRY_DELAYS_SECONDS, None):
            try:
                self._once(what, call, thing_id)
            except _Gone:
                return
            except _Conflict as error:
                raise self._refused(what, str(error)) from None
            except _Unavailable as error:
                if delay is None:
                    self._give_up(what, error)
                time.sleep(max(delay, error.wait_seconds))
            else:
                return

    def not_kfp(self) -> BadInput:
        """Return what to raise when something else answers at the address."""
        problem = "what answers is not the Kubeflow Pipelines API"
        return BadInput(self.endpoint, problem, "give the address of ml-pipeline or of its UI")

    def _once(self, what: str, call: Callable[..., T], *words: Any, **options: Any) -> T:
        """Make one call and say what its fault means."""
        import urllib3

        self._sign()
        try:
            return call(*words, _request_timeout=self._timeout, **options)
        except self._api_exception as error:
            raise self._meaning(what, error) from None
        except urllib3.exceptions.TimeoutError:
            raise _Unavailable(f"no answer in {self._timeout[0]:g} s") from None
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise _Unavailable(f"no connection ({type(cause).__name__})") from None

    def _sign(self) -> None:
        """Take the token afresh for every call: a projected one is replaced every hour."""
        path = Path(os.environ.get(_TOKEN_FILE_VARIABLE, _POD_TOKEN_FILE))
        token = os.environ.get(TOKEN_VARIABLE)
        if token is None and path.is_file():
            token = path.read_text(encoding="utf-8")
        if token:
            self._configuration.api_key["authorization"] = token.strip()
            self._configuration.api_key_prefix["authorization"] = "Bearer"

    def _meaning(self, what: str, error: Any) -> Exception:
        status, said = error.status, _said(error)
        # A redirect leads to the page where people sign in.
        if status == 401 or 300 <= status < 400:
            mend = f"put a fresh token into {TOKEN_VARIABLE}, or forward a port to ml-pipeline-ui"
            return BadInput(self.endpoint, f"you are not signed in (HTTP {status})", mend)
        if status == 403:
            mend = "ask for the role kubeflow-edit in the namespace, or mend cluster.namespace"
            return BadInput(self.endpoint, f"this account may not {what} (HTTP 403)", mend)
        if status == 404:
            return _Gone(said)
        if status == 409:
            return _Conflict(said)
        if status in (0, 429) or status >= 500:
            return _Unavailable(f"HTTP {status}: {said}", status, _wait_asked_for(error))
        return self._refused(what, said)

    def _refused(self, what: str, said: str) -> BadInput:
        problem = f"Kubeflow Pipelines refused to {what}: {said}"
        return BadInput(self.endpoint, problem, "mend what it names and try again")

    def _give_up(self, what: str, error: _Unavailable) -> NoReturn:
        forward = "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"
        mend = f"check the address, or forward a port to it: {forward}"
        raise BadInput(self.endpoint, f"could not {what}: {error}", mend) from None


def _said(error: Any) -> str:
    """Return the server's own words, one line, without its stack."""
    try:
        body = json.loads(error.body)
        text = body.get("message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        text = None
    lines = str(text or error.reason or "no reason given").strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


def _wait_asked_for(error: Any) -> float:
    asked = (error.headers or {}).get("Retry-After", "")
    return min(float(asked), RETRY_DELAYS_SECONDS[-1]) if asked.isdigit() else 0.0
