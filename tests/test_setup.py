"""What pip reads: setup.py's bounds and extras, and the pins beside them, say the same thing and can be parsed."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lsw_hf

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def arguments():
    """What setup.py hands to setuptools."""
    source = (
        "import json, runpy, sys, setuptools; caught = {}; "
        "setuptools.setup = lambda **keywords: caught.update(keywords); "
        "runpy.run_path('setup.py'); print(json.dumps(caught))"
    )
    pytest.importorskip("setuptools")
    import json

    finished = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned_version(pins, name, python):
    """The one version that `constraints.txt` gives a package on a Python."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    versions = [
        next(iter(pin.specifier)).version
        for pin in pins
        if canonicalize_name(pin.name) == name and (pin.marker is None or pin.marker.evaluate(environment))
    ]
    assert len(versions) <= 1, f"{name} is pinned {len(versions)} times for Python {python}"
    return versions[0] if versions else None


def test_version_is_the_packages(arguments):
    assert arguments["version"] == lsw_hf.__version__


def test_extras_parse_and_add_up(arguments):
    extras = arguments["extras_require"]
    assert set(extras) == {"plot", "convert", "data", "flash", "docs", "dev", "all"}
    names = {extra: {Requirement(line).name for line in lines} for extra, lines in extras.items()}
    assert names["plot"] | names["convert"] | names["data"] <= names["dev"]
    assert names["all"] == names["flash"] | names["dev"] | names["docs"]
    assert str(Requirement(extras["flash"][0]).marker) == 'platform_system == "Linux"'


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_has_a_fitting_pin(arguments, pins, python):
    extras = arguments["extras_require"]
    for requirement in map(Requirement, (*arguments["install_requires"], *extras["dev"], *extras["docs"])):
        version = pinned_version(pins, canonicalize_name(requirement.name), python)
        assert version is not None, f"{requirement.name} is not pinned for Python {python}"
        assert version in requirement.specifier, f"{requirement} is pinned to {version}"


def test_every_requirement_stops_at_a_major_version(arguments):
    requirements = [*arguments["install_requires"], *arguments["extras_require"]["all"]]
    for requirement in map(Requirement, requirements):
        uppers = [bound.version for bound in requirement.specifier if bound.operator == "<"]
        assert len(uppers) == 1, requirement
        assert uppers[0].isdigit(), requirement


def test_pins_are_exact_portable_and_torch_is_first(pins):
    assert pins[0].name == "torch"
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version


def test_console_script_is_the_module(arguments):
    assert arguments["entry_points"] == {"console_scripts": ["lsw-hf = lsw_hf.cli:main"]}
    assert arguments["python_requires"] == ">=3.11"


def test_pins_suit_each_other(pins):
    """What each installed, pinned package asks of others is what they are pinned to: pip would refuse otherwise."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    unfit = []
    for pin in pins:
        name = canonicalize_name(pin.name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version != pinned_version(pins, name, python):
            continue  # a hand-made environment may have another release, which asks for other things
        for line in found.requires or ():
            asked = Requirement(line)
            if asked.marker and not asked.marker.evaluate({**default_environment(), "extra": ""}):
                continue
            version = pinned_version(pins, canonicalize_name(asked.name), python)
            if version is not None and version not in asked.specifier:
                unfit.append(f"{name} asks for {asked}, pinned is {version}")
    assert not unfit
