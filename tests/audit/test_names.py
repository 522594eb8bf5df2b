import pytest

from audit import names


def test_names_come_from_resolvers_and_fall_back_to_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_resolvers", [])

    def resolver(ids: object) -> dict[str, str]:
        return {"u-1": "Ada Auditor", "u-2": ""}

    names.register(resolver)
    names.register(resolver)
    assert names.display(["u-1", "u-2", "svc:worker", "anonymous"]) == {
        "u-1": "Ada Auditor",
        "u-2": "u-2",
        "svc:worker": "Lastgood (worker)",
        "anonymous": "somebody not signed in",
    }
    assert len(names._resolvers) == 1
