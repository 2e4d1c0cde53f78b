"""What one writes in an afternoon: FastAPI around a pickled scikit-learn model.

``python fastapi_pickle_side.py MODEL.joblib PORT``
"""

import sys

import joblib
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

THRESHOLD = 0.5


class Posts(BaseModel):
    """The texts to score."""

    instances: list[str]


def application(path: str) -> FastAPI:
    app, model = FastAPI(), joblib.load(path)

    @app.post("/predict")
    def predict(posts: Posts) -> dict[str, list[dict[str, float | bool]]]:
        scores = model.predict_proba(posts.instances)[:, 1]
        told = [{"score": float(score), "flagged": bool(score >= THRESHOLD)} for score in scores]
        return {"predictions": told}

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error"
    )
