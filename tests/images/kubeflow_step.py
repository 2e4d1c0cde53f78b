"""Run one task of compiled IR in a container, as Kubeflow's launcher would start it."""

import json

_CHANNEL = "pipelinechannel--"


class Pipeline:
    """Compiled IR with the run's arguments; artifacts lie in `folder`."""

    def __init__(self, spec, arguments, folder):
        self.spec = spec
        self.folder = folder
        defaults = {
            name: found["defaultValue"]
            for name, found in spec["root"]["inputDefinitions"]["parameters"].items()
            if "defaultValue" in found
        }
        self.arguments = {**defaults, **arguments}

    def command(self, task_name):
        """Return the words that start the task, with all its inputs and outputs."""
        dags = [self.spec["root"], *self.spec["components"].values()]
        task = next(
            dag["dag"]["tasks"][task_name]
            for dag in dags
            if task_name in dag.get("dag", {}).get("tasks", {})
        )
        component = self.spec["components"][task["componentRef"]["name"]]
        given = task.get("inputs", {})
        executor_input = {
            "inputs": {
                "parameterValues": {
                    name: self._value(found) for name, found in given.get("parameters", {}).items()
                },
                "artifacts": {
                    name: self._artifact(name, self._origin(found), "system.Artifact")
                    for name, found in given.get("artifacts", {}).items()
                },
            },
            "outputs": {
                "artifacts": {
                    name: self._artifact(
                        name, f"{task_name}-{name}", found["artifactType"]["schemaTitle"]
                    )
                    for name, found in component["outputDefinitions"]["artifacts"].items()
                },
                "outputFile": str(self.folder / f"{task_name}.json"),
            },
        }
        executor = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        container = executor["container"]
        arguments = [
            json.dumps(executor_input) if word == "{{$}}" else word for word in container["args"]
        ]
        return [*container["command"], *arguments]

    def _value(self, source):
        if "runtimeValue" in source:
            return source["runtimeValue"]["constant"]
        if "taskOutputParameter" in source:  # of the step that plans the run
            return self.arguments[source["taskOutputParameter"]["outputParameterKey"]]
        return self.arguments[source["componentInputParameter"].removeprefix(_CHANNEL)]

    def _origin(self, source):
        if "taskOutputArtifact" in source:
            found = source["taskOutputArtifact"]
            return f"{found['producerTask']}-{found['outputArtifactKey']}"
        return source["componentInputArtifact"].removeprefix(_CHANNEL)

    def _artifact(self, name, origin, title):
        return {
            "artifacts": [
                {"name": name, "type": {"schemaTitle": title}, "uri": str(self.folder / origin)}
            ]
        }
