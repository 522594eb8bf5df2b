import subprocess
import sys


def test_the_engine_imports_neither_django_nor_torch_nor_river():
    program = """
import importlib, pkgutil, sys
import monitoring.drift as drift
for module in pkgutil.iter_modules(drift.__path__):
    importlib.import_module(f"monitoring.drift.{module.name}")
assert "monitoring.drift.mmd" in sys.modules
print(sorted({"django", "torch", "river"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
