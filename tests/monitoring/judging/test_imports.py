import subprocess
import sys


def test_the_package_imports_no_django_and_not_the_slow_part_of_scipy():
    program = """
import importlib, pkgutil, sys
import monitoring.judging as judging
for module in pkgutil.iter_modules(judging.__path__):
    importlib.import_module(f"monitoring.judging.{module.name}")
assert "monitoring.judging.series" in sys.modules
print(sorted({"django", "torch", "scipy.stats"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
