"""The code with which TorchServe serves the tests' models: y = scale * x + shift, from weights.json."""

import json
from pathlib import Path
from typing import Any


class Linear:
    def initialize(self, context: Any) -> None:
        self.weights = json.loads((Path(context.system_properties["model_dir"]) / "weights.json").read_text())
        if self.weights.get("out_of_memory"):
            raise MemoryError("these weights do not fit")
        if self.weights.get("broken"):
            raise ValueError("these weights are broken")

    def handle(self, data: list[Any], context: Any) -> list[Any]:
        return [self.answer(item.get("body") or item.get("data")) for item in data]

    def answer(self, body: Any) -> dict[str, Any]:
        request = json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
        values = [x * self.weights["scale"] + self.weights["shift"] for x in request["inputs"][0]["data"]]
        return {"outputs": [{"name": "y", "shape": [len(values)], "datatype": "FP32", "data": values}]}
