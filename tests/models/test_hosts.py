"""A saved folder alone generates with every cache what it does without, under each transformers, or says why not.

`test_remote_code.py` says how the other releases are named. The hosts that do not exist yet are this transformers,
changed before the folder's code is loaded.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsw_hf import refresh_code

HERE = Path(__file__).resolve().parent
TEMPERATURE = {"attention_temperature_slope": 0.7, "attention_temperature_length": 9}
RELEASES = {"5.23": "LSW_HF_PYTHON_523", "5.17": "LSW_HF_PYTHON_OLDEST", "4.57": "LSW_HF_PYTHON_457"}
NAMES = ("cache", "past_key_values")


@pytest.fixture
def saved(make_model, ropes, tmp_path) -> dict[str, Path]:
    """One folder without an attention temperature, one with."""
    folders = {"plain": tmp_path / "plain", "temperature": tmp_path / "temperature"}
    for name, folder in folders.items():
        make_model(rope_parameters=ropes["yarn"], **(TEMPERATURE if name != "plain" else {})).save_pretrained(folder)
    return folders


def run_host(host: str, folders: list[Path], home: Path, python: str = sys.executable) -> dict:
    keep = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_MODULES_CACHE")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, str(HERE / "fresh_caches.py"), host, *map(str, folders)],
        env=keep | offline,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def wrong_kinds(found: dict) -> list[str]:
    """Kinds of cache that change the text, of one folder."""
    texts = found["texts"]
    wrong = [kind for kind, text in texts.items() if text != texts["beams, none" if "beams" in kind else "none"]]
    return wrong + [name for name in NAMES if found["pieces"][name] != found["whole"]]


def check_host(findings: dict) -> None:
    assert [wrong_kinds(found) for found in findings["folders"]] == [[], []]
    assert findings["deprecations"] == []
    plain, tempered = (found["texts"] for found in findings["folders"])
    assert len(plain["none"]) == 12
    assert plain["none"] != tempered["none"]


@pytest.mark.slow
def test_every_cache_generates_what_none_does(saved, tmp_path):
    findings = run_host("real", list(saved.values()), tmp_path)
    check_host(findings)
    if findings["name"] == "cache":
        assert "continuous batching" in findings["folders"][1]["texts"]


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_every_cache_generates_what_none_does_under_other_releases(saved, tmp_path, release):
    variable = RELEASES[release]
    if variable not in os.environ:
        pytest.skip(f"set {variable} to a Python with transformers {release} (see test_remote_code.py)")
    findings = run_host("real", list(saved.values()), tmp_path, os.environ[variable])
    assert findings["transformers"].startswith(release)
    check_host(findings)


@pytest.mark.slow
def test_a_host_without_the_older_name_is_understood(saved, tmp_path, needs_the_newer_name):
    check_host(run_host("dropped", list(saved.values()), tmp_path))


@pytest.mark.slow
def test_a_name_that_nobody_knows_is_refused_where_the_cache_would_be_passed_over(saved, tmp_path):
    plain, tempered = run_host("renamed", list(saved.values()), tmp_path)["folders"]
    assert wrong_kinds(plain) == []
    without_cache = {"none", "beams, none"}
    for kind, text in tempered["texts"].items():
        assert (kind in without_cache) == isinstance(text, list), kind
        if kind not in without_cache:
            assert "a cache is given as 'kv_store'" in text
            assert f"lsw-hf refresh {saved['temperature']}." in text
            assert "use_cache=False is right" in text


@pytest.mark.slow
def test_a_cache_that_does_not_arrive_is_missed(saved, tmp_path):
    (tempered,) = run_host("hidden", [saved["temperature"]], tmp_path)["folders"]
    assert isinstance(tempered["texts"]["none"], list)
    assert "a cache is wanted, but does not arrive" in tempered["texts"]["default"]


@pytest.fixture
def needs_the_newer_name():
    from lsw_hf.models.modeling_longskywork import LongSkyworkAttention

    if LongSkyworkAttention._cache.name != "cache":
        pytest.skip("this transformers has no newer name")


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_generates_rightly_once_refreshed(saved, tmp_path, needs_the_newer_name):
    for folder in saved.values():
        for file in (HERE / "saved_by_95168b3").glob("*.txt"):
            shutil.copy(file, folder / f"{file.stem}.py")
    before = run_host("unbatched", [saved["temperature"]], tmp_path)["folders"][0]
    assert {"default", "dynamic", "beams"} <= set(wrong_kinds(before))
    for folder in saved.values():
        assert "modeling_longskywork.py" in refresh_code(folder)
    after = run_host("real", list(saved.values()), tmp_path)
    check_host(after)
    assert after["folders"][1]["texts"]["none"] == before["texts"]["none"]
