"""The Pod Security level ``restricted``, as its standard words it."""

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def restricted_violations(spec):
    """Return what the Pod Security level ``restricted`` refuses in a pod spec.

    Follows https://kubernetes.io/docs/concepts/security/pod-security-standards/, Linux pods.
    """
    pod = spec.get("securityContext") or {}
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes", []):
        found += [f"volume type {kind}" for kind in volume.keys() - {"name"} - _VOLUMES]
    found += ["sysctls"] if pod.get("sysctls") else []
    kinds = ("containers", "initContainers", "ephemeralContainers")
    for container in [c for kind in kinds for c in spec.get(kind, [])]:
        own = container.get("securityContext") or {}
        name = container["name"]

        def effective(key, own=own):
            return own.get(key, pod.get(key))

        capabilities = own.get("capabilities") or {}
        profile = (effective("seccompProfile") or {}).get("type")
        rules = {
            "privileged": not own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": effective("runAsNonRoot") is True,
            "runAsUser": effective("runAsUser") != 0,
            "seccompProfile": profile in {"RuntimeDefault", "Localhost"},
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "seLinuxOptions": not {"user", "role"} & (effective("seLinuxOptions") or {}).keys(),
        }
        found += [f"{name}: {rule}" for rule, kept in rules.items() if not kept]
    return found


GOOD = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def changed(**container):
    [good] = GOOD["containers"]
    return {**GOOD, "containers": [{**good, **container}]}
