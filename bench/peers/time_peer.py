"""Time one peer on the tables of one file: python time_peer.py PEER TABLES.npz [DIRECTORY OF TORCH]

Run by bench/drift.py with the Python of the peer's own environment, so it imports nothing of Lastgood. Prints one JSON
line, {"seconds": ...}. Loading the data and importing the peer are not counted; what a user would call is.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

warnings.filterwarnings("ignore")
os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
os.environ["DO_NOT_TRACK"] = "1"

Tables = dict[str, np.ndarray]


def evidently(tables: Tables) -> Callable[[], object]:
    """DataDriftPreset with its defaults."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    reference, window, numeric, categorical = frames(tables)
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    both = [Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference)]
    return lambda: Report([DataDriftPreset()]).run(*both).dict()


def nannyml(tables: Tables) -> Callable[[], object]:
    """UnivariateDriftCalculator with its defaults: ten chunks of each sample."""
    import nannyml as nml

    reference, window, numeric, categorical = frames(tables)
    calculator = nml.UnivariateDriftCalculator(
        column_names=numeric + categorical, treat_as_categorical=categorical, chunk_number=10
    )
    return lambda: calculator.fit(reference).calculate(window)


def alibi(tables: Tables) -> Callable[[], object]:
    """TabularDrift with its defaults: Kolmogorov-Smirnov and chi-square."""
    from alibi_detect.cd import TabularDrift

    reference, window, numeric, categorical = frames(tables)
    places = {len(numeric) + i: None for i in range(len(categorical))}
    before, now = reference.to_numpy(), window.to_numpy()
    return lambda: TabularDrift(before, categories_per_feature=places or None).predict(now)


def alibi_mmd(tables: Tables) -> Callable[[], object]:
    """MMDDrift on PyTorch's CPU backend with 100 permutations, a tenth of what it is compared with."""
    from alibi_detect.cd import MMDDrift

    return lambda: MMDDrift(
        tables["reference"], backend="pytorch", n_permutations=100, device="cpu", preprocess_x_ref=False
    ).predict(tables["window"])


def frames(tables: Tables) -> tuple:
    """Both samples as pandas frames, and the names of their numeric and categorical columns."""
    import pandas as pd

    names = {part: [n.split("/")[1] for n in tables if n.startswith(f"{part}/")] for part in ("reference", "window")}
    reference, window = (
        pd.DataFrame({name: tables[f"{part}/{name}"] for name in names[part]}) for part in ("reference", "window")
    )
    return reference, window, [n for n in reference if n[0] == "n"], [n for n in reference if n[0] == "c"]


def main() -> None:
    peer, path, *torch_at = sys.argv[1:]
    sys.path.extend(torch_at)
    with np.load(path) as file:
        tables = {name: file[name] for name in file.files}
    work = {"evidently": evidently, "nannyml": nannyml, "alibi": alibi, "alibi_mmd": alibi_mmd}[peer](tables)
    started = time.perf_counter()
    work()
    print(json.dumps({"seconds": round(time.perf_counter() - started, 3)}))


if __name__ == "__main__":
    main()
