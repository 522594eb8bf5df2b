"""The code with which Triton's Python backend serves the tests' models: y = scale * x + shift, from weights.json."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.weights = json.loads((folder / "weights.json").read_text())
        time.sleep(self.weights.get("seconds", 0))
        if self.weights.get("broken"):
            raise ValueError("these weights are broken")

    def execute(self, requests: list[Any]) -> list[Any]:
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            y = (x * self.weights["scale"] + self.weights["shift"]).astype(np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", y)]))
        return answers
