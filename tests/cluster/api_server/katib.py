"""What the fake Katib plays on, kept by a real API server."""

from kubernetes import client

_KINDS = {"experiments": "Experiment", "trials": "Trial"}


class KatibsObjects:
    """Experiments and trials of a namespace, as Katib's controller reads and writes them."""

    def __init__(self, server, namespace):
        self._custom = server.custom
        self._at = {"group": "kubeflow.org", "version": "v1beta1", "namespace": namespace}

    def of(self, plural):
        return self._custom.list_namespaced_custom_object(**self._at, plural=plural)["items"]

    def put(self, plural, document):
        body = {"apiVersion": "kubeflow.org/v1beta1", "kind": _KINDS[plural], **document}
        made = self._custom.create_namespaced_custom_object(**self._at, plural=plural, body=body)
        return self.save(plural, {**made, "status": document["status"]})

    def save(self, plural, document):
        name, status = document["metadata"]["name"], {"status": document["status"]}
        try:
            return self._custom.patch_namespaced_custom_object_status(
                **self._at, plural=plural, name=name, body=status
            )
        except client.ApiException as error:
            if error.status != 404:  # taken away meanwhile
                raise
            return document
