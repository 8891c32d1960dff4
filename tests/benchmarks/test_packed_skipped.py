"""The GPU benchmark's comparison with the oracle, on a CPU: it passes ours and would see a backend that is wrong."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu" / "packed_skipped.py"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import packed_skipped

    return packed_skipped


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("qwen3", "mistral", "gemma3")]


@pytest.mark.parametrize("architecture", ["llama", *SLOW])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_ours_is_right_and_stock_attention_is_not(benchmark, monkeypatch, dtype, architecture):
    monkeypatch.setattr(sys, "argv", ["packed_skipped.py", "--device", "cpu", "--small", "--dtype", dtype])
    arguments = benchmark.parse()
    assert benchmark.check("lsw_sdpa", arguments, architecture)["right"]
    assert not benchmark.check("sdpa", arguments, architecture)["right"]


def test_the_whole_script_on_a_cpu(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["packed_skipped.py", "--device", "cpu", "--small"])
    benchmark.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["right"] for one in figures["checks"]] == [True] * 4 + [False] * 4
    assert [one["backend"] for one in figures["speeds"]] == ["lsw_sdpa, packed", "sdpa, rows"]
    assert all(one["tokens_per_second"] > 0 for one in figures["speeds"])


def test_a_missing_gpu_is_said(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["packed_skipped.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        benchmark.parse()
    assert "no CUDA device here; use --device cpu --small" in capsys.readouterr().err
