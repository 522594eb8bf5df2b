"""A model of a test's own on a shared server, and what happens to it."""

from __future__ import annotations

import uuid
from typing import Any

from registry.serving.base import ModelObservation
from tests.engines.servers import Made, Server, digest


class Story:
    """Versions of one model, made, staged, loaded and switched to by the engine's driver."""

    def __init__(self, server: Server) -> None:
        self.server, self.driver, self.address = server, server.driver, server.address
        self.model = f"m{uuid.uuid4().hex[:10]}"
        self.made: dict[int, Made] = {}
        self.fence = 0

    def digest(self, number: int) -> str:
        return digest(self.made[number])

    def stage(self, number: int, *, broken: bool = False) -> None:
        self.made[number] = self.server.make(self.model, number, broken=broken)
        self.driver.stage(self.address, self.model, str(number), *self.made[number])

    def load(self, number: int) -> None:
        self.driver.load(self.address, self.model, str(number))

    def bring_broken(self, number: int) -> None:
        """Stage and load a version that can't be loaded; an engine that looks into files refuses it before."""
        self.stage(number, broken=True)
        self.load(number)

    def switch(self, number: int) -> None:
        self.fence += 1
        self.driver.switch(self.address, self.model, str(number), self.digest(number), self.fence)

    def serve(self, number: int) -> None:
        self.stage(number)
        self.load(number)
        self.switch(number)

    def seen(self) -> ModelObservation:
        return self.driver.observe(self.address).models[self.model]

    def answers(self, version: str | None = None) -> dict[str, list[Any]]:
        given = self.driver.infer(self.address, self.model, self.server.inputs, version=version).outputs
        return {name: given[name] for name in self.server.expected(1)}
