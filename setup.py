"""Installs `lsw_hf`. A lower bound is a version the code is written for; `constraints.txt` pins the tested set."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Return `__version__` of the package without importing it: torch is not installed yet when pip builds."""
    source = (ROOT / "lsw_hf" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError("lsw_hf/__init__.py has no line of the form __version__ = ...")
    return match.group(1)


def read_long_description() -> str:
    """Return the README, or nothing where only the sources were copied."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# Above each stands the next major version, which may break anything; where releases are numbered 0.x, 1.0 does, since
# their minor ones come too often to hold each back. `make canary` meets the newest of all before a user does.
INSTALL_REQUIRES = [
    "torch>=2.11,<3",
    "transformers>=5.17,<6",  # one rope_parameters dictionary, registered attention and mask interfaces
    "trl>=1.10,<2",  # the oldest SFTTrainer that was run with these trainers' transformers
    "peft>=0.20,<1",  # 0.18 merges a trained tied embedding wrong, 0.19 warns of tying where there is none
    "datasets>=4.7,<6",  # TRL's own lower bound
    "accelerate>=1.10.1,<2",  # TRL's own lower bound
    "evaluate>=0.4.6,<1",  # the first one that imports beside huggingface-hub 1.x
    "huggingface-hub>=1.31,<3",  # transformers' own bounds
    "safetensors>=0.8,<1",  # transformers' own lower bound
    "jinja2>=3.1,<4",  # model card and chat templates
    "pyyaml>=6.0.1,<7",
    "filelock>=3.12,<5",  # a lock that dies with its process
    "numpy>=1.26,<3",
    "tqdm>=4.66.3,<5",
]

EXTRAS = {
    # Heat maps: needle reports are saved and printed without it.
    "plot": ["matplotlib>=3.8,<4"],
    # Skywork's own checkpoints: their tokenizer is a sentencepiece model.
    "convert": ["protobuf>=4.25,<8", "sentencepiece>=0.2,<1"],
    # Similar documents by BM25, near-duplicates by MinHash, and pipelines for a corpus too large for one process.
    "data": ["bm25s>=0.2,<1", "datasketch>=1.6,<3", "datatrove>=0.10,<1"],
    # No wheels: it compiles on installation, for an hour, and needs a CUDA compiler. 2.x and 4.x differ in everything.
    "flash": ["flash-attn>=2.7,<3; platform_system == 'Linux'"],
}
EXTRAS["docs"] = [
    "mkdocs>=1.6,<2",
    "mkdocs-material>=9.5,<10",
    "mkdocstrings[python]>=1.0,<2",
]
EXTRAS["dev"] = [
    *EXTRAS["plot"],
    *EXTRAS["convert"],
    *EXTRAS["data"],
    "codespell>=2.4,<3",
    "hypothesis>=6.100,<7",
    "ipykernel>=6.29,<8",  # runs the notebook of the examples
    "mistral-common>=1.12,<2",  # a real sentencepiece vocabulary for the tests: its data only
    "mypy>=1.15,<3",
    "nbmake>=1.5,<2",  # the notebook of the examples as a test
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "ruff>=0.12,<1",
    "scipy>=1.15,<2",  # statistical tests of what is drawn
    "torchdata>=0.11,<1",  # its data loader saves and restores the state of streams in workers
    "types-PyYAML>=6.0,<7",
    "types-tqdm>=4.66,<5",
]
EXTRAS["all"] = [*EXTRAS["dev"], *EXTRAS["docs"], *EXTRAS["flash"]]

setup(
    name="lsw-hf",
    version=read_version(),
    description="Give a Hugging Face causal language model a longer context window, prove it, and publish it.",
    long_description=read_long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["lsw_hf", "lsw_hf.*"]),
    package_data={
        "lsw_hf": [
            "py.typed",
            "context/*.json",
            "hub/*.md",
            "recipes/*.yaml",
            "evaluation/metrics/*/*",
            "evaluation/lm_eval_tasks/*",
        ]
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["lsw-hf = lsw_hf.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
