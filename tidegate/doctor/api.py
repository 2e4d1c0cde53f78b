"""A bounded, reading view of a Kubernetes API server.

Every request has a time limit, all of them together have one, and Secrets are never asked for.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.doctor.rights import Right

Document = Mapping[str, Any]

REQUEST_SECONDS = 4.0
TOTAL_SECONDS = 18.0
_KUBECONFIG_SECONDS = 6.0


class NoAnswer(Exception):
    """The API server, or the way to it, did not answer; says why and what to do.

    Parameters
    ----------
    what : str
        Why, without anything that came from a credential.
    mend : str
        What to do.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend


class Forbidden(Exception):
    """The API server knows who asks and does not allow it.

    Parameters
    ----------
    asked : str
        The request that it refused, for example ``get /api/v1/nodes``.
    """

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.asked = asked


class Api:
    """The API server behind one client.

    Parameters
    ----------
    client : kubernetes.client.ApiClient
        How to reach it, and as whom.
    total_seconds : float
        After this long no request is started any more.
    """

    def __init__(self, client: Any, total_seconds: float = TOTAL_SECONDS) -> None:
        self._client = client
        self._until = time.monotonic() + total_seconds

    @property
    def address(self) -> str:
        """Where the API server is."""
        return str(self._client.configuration.host)

    def get(self, path: str) -> Document | None:
        """Return what is at `path`, or None when nothing is.

        Raises
        ------
        Forbidden
            If the right to read it is missing.
        NoAnswer
            If there is no answer in time, or one that is not Kubernetes's.
        """
        return self._ask("GET", path)

    def items(self, path: str) -> list[Document]:
        """Return the items of a list; none where the kind is not served."""
        return list((self.get(f"{path}?limit=500") or {}).get("items") or [])

    def user(self) -> str | None:
        """Return who the API server takes us for; None where it cannot say (before 1.28)."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        return None if answer is None else str(answer["status"]["userInfo"]["username"])

    def may(self, verb: str, right: Right, namespace: str, as_user: str | None = None) -> bool:
        """Ask by a SelfSubjectAccessReview whether we, or `as_user`, may do something.

        Raises
        ------
        Forbidden
            If we may not ask in the name of `as_user`.
        """
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.only,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        headers = {} if as_user is None else {"Impersonate-User": as_user}
        answer = self._ask("POST", path, body, headers)
        return bool(answer and answer["status"]["allowed"])

    def _ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Document | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        seconds = min(REQUEST_SECONDS, self._until - time.monotonic())
        if seconds <= 0:
            raise NoAnswer("no time left: the API server is slow", "try again later")
        accept = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            answer = self._client.call_api(
                path,
                method,
                header_params={**accept, **(headers or {})},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=(seconds, seconds),
            )
        except ApiException as error:
            if error.status == 404:
                return None
            if error.status == 403:
                raise Forbidden(f"{method.lower()} {path.partition('?')[0]}") from None
            raise self._no_answer(error.status) from None
        except (HTTPError, OSError) as error:
            raise self._unreachable(error) from None
        if not isinstance(answer, dict):
            raise NoAnswer(
                f"{self.address} does not answer as a Kubernetes API server",
                "check the server's address in the kubeconfig",
            )
        return answer

    def _no_answer(self, status: int) -> NoAnswer:
        if status == 401:
            return NoAnswer(
                f"{self.address} does not accept the credentials (401)",
                "log in again: the token may have expired",
            )
        if status == 0:
            return self._untrusted()
        return NoAnswer(f"{self.address} answered with status {status}", "try again later")

    def _unreachable(self, error: Exception) -> NoAnswer:
        told = f"{type(error).__name__} {getattr(error, 'reason', '')}"
        if "SSL" in told or "certificate" in told.lower():
            return self._untrusted()
        if "timed out" in told.lower() or "Timeout" in told:
            return NoAnswer(
                f"{self.address} did not answer in {REQUEST_SECONDS:.0f} s",
                "check the network, the VPN and that the API server runs",
            )
        return NoAnswer(
            f"no connection to {self.address}",
            "check the server's address in the kubeconfig and that the API server runs",
        )

    def _untrusted(self) -> NoAnswer:
        return NoAnswer(
            f"the certificate of {self.address} is not trusted",
            "check certificate-authority-data in the kubeconfig",
        )


def connect(context: str | None = None, total_seconds: float = TOTAL_SECONDS) -> Api:
    """Return the API server that kubectl would use, or the one around this pod.

    Parameters
    ----------
    context : str, optional
        A context of the kubeconfig, which ``KUBECONFIG`` or ``~/.kube/config`` name.

    Raises
    ------
    NoAnswer
        If there is no kubeconfig and no pod around us, or it cannot be used.
    """
    from kubernetes import client

    configuration = client.Configuration()
    failure: list[NoAnswer] = []

    def load() -> None:
        try:
            _load(configuration, context)
        except NoAnswer as error:
            failure.append(error)

    # A credential plugin may wait for a person for ever.
    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    loading.join(_KUBECONFIG_SECONDS)
    if loading.is_alive():
        raise NoAnswer(
            f"the kubeconfig's credential plugin took more than {_KUBECONFIG_SECONDS:.0f} s",
            "log in with it first (`kubectl get ns` must work)",
        )
    if failure:
        raise failure[0]
    configuration.retries = False
    return Api(client.ApiClient(configuration), total_seconds)


def _load(configuration: Any, context: str | None) -> None:
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    found = any(Path(name).is_file() for name in files.split(os.pathsep) if name)
    in_pod = context is None and "KUBERNETES_SERVICE_HOST" in os.environ
    if not found and not in_pod:
        raise NoAnswer(
            f"no kubeconfig at {files}, and not inside a pod",
            "set KUBECONFIG, or fetch one (kind: `kind export kubeconfig`)",
        )
    silence = _Silence()
    logging.getLogger().addFilter(silence)
    try:
        if found:
            config.load_kube_config(files, context, configuration, persist_config=False)
        else:
            config.load_incluster_config(configuration)
    except ConfigException as error:
        told = str(error).splitlines()[0] if str(error) else "it cannot be used"
        raise NoAnswer(
            f"kubeconfig: {told}", "mend it: `kubectl config get-contexts` must list the context"
        ) from None
    except Exception as error:  # noqa: BLE001 - the text of any other may quote the kubeconfig
        raise NoAnswer(
            f"the kubeconfig cannot be read ({type(error).__name__})",
            "mend it: `kubectl get ns` must work",
        ) from None
    finally:
        logging.getLogger().removeFilter(silence)
    if silence.heard:
        raise NoAnswer(
            "the kubeconfig's credential plugin failed",
            "log in: `kubectl get ns` must work",
        )


class _Silence(logging.Filter):
    """Keeps back what the client logs of a failed credential plugin: it quotes its output."""

    heard = False

    def filter(self, record: logging.LogRecord) -> bool:
        if Path(record.pathname).name != "kube_config.py":
            return True
        self.heard = True
        return False
