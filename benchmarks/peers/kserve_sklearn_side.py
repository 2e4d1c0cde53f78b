"""KServe's own scikit-learn server, as its repository has it: a model of joblib behind `Model`.

After ``python/sklearnserver/sklearnserver/model.py`` of KServe, with ``PREDICT_PROBA`` set; the
package itself is on no index. ``python kserve_sklearn_side.py MODEL.joblib PORT``.
"""

import sys
from typing import Any

MODEL, PORT = sys.argv[1], int(sys.argv[2])
sys.argv = sys.argv[:1]

import joblib  # noqa: E402
from kserve import Model, ModelServer  # noqa: E402
from kserve.utils.utils import get_predict_input, get_predict_response  # noqa: E402


class SKLearnModel(Model):  # type: ignore[misc]
    """A pickled scikit-learn model."""

    def load(self) -> bool:
        self._model = joblib.load(MODEL)
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: Any = None) -> Any:
        instances = get_predict_input(payload)
        result = self._model.predict_proba(instances)
        return get_predict_response(payload, result, self.name)


if __name__ == "__main__":
    model = SKLearnModel("model")
    model.load()
    ModelServer(http_port=PORT, enable_grpc=False).start([model])
