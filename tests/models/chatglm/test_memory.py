"""Loading makes no second copy of the weights: the benchmark's figures, on a small checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "chatglm_loading.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for the peak of resident memory")
@pytest.mark.parametrize(
    ("run", "loader"),
    [
        ("float32 safetensors float32", "chatglm"),
        ("float16 bin float32", "bridge"),
    ],
)
def test_peak_memory_is_the_weights(tmp_path, run, loader):
    command = [sys.executable, str(BENCHMARK), "--gigabytes", "0.25", "--folder", str(tmp_path)]
    command += ["--shards", "10", "--json", "--loaders", loader, "--runs", run]

    done = subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] / found["bytes"] <= 1.15
