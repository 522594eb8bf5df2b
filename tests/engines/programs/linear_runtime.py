"""The code with which MLServer serves the tests' models: y = scale * x + shift, from weights.json."""

import asyncio
import json
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput
from mlserver.utils import get_model_uri


class Linear(MLModel):
    async def load(self) -> bool:
        self.weights = json.loads((Path(await get_model_uri(self._settings)) / "weights.json").read_text())
        await asyncio.sleep(self.weights.get("seconds", 0))
        if self.weights.get("broken"):
            raise ValueError("these weights are broken")
        return True

    async def predict(self, payload: Any) -> InferenceResponse:
        values = [x * self.weights["scale"] + self.weights["shift"] for x in payload.inputs[0].data]
        output = ResponseOutput(name="y", shape=[len(values)], datatype="FP32", data=values)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
