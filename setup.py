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


INSTALL_REQUIRES = [
    "torch>=2.11",
    "transformers>=5.17",  # one rope_parameters dictionary, registered attention and mask interfaces
    "trl>=1.10",  # the oldest SFTTrainer that was run with these trainers' transformers
    "peft>=0.18",  # ensure_weight_tying, without which a trained tied embedding is untied by a merge
    "datasets>=4.7",  # TRL's own bound
    "accelerate>=1.10.1",  # TRL's own bound
    "evaluate>=0.4.6",  # the first one that imports beside huggingface-hub 1.x
    "huggingface-hub>=1.31,<3.0",  # transformers' own bounds
    "safetensors>=0.8",  # transformers' own bound
    "jinja2>=3.1",  # model card and chat templates
    "pyyaml>=6.0.1",
    "filelock>=3.12",  # a lock that dies with its process
    "numpy>=1.26",
    "tqdm>=4.66.3",
]

EXTRAS = {
    # Heat maps: needle reports are saved and printed without it.
    "plot": ["matplotlib>=3.8"],
    # Skywork's own checkpoints: their tokenizer is a sentencepiece model.
    "convert": ["protobuf>=4.25", "sentencepiece>=0.2"],
    # Similar documents by BM25, near-duplicates by MinHash, and pipelines for a corpus too large for one process.
    "data": ["bm25s>=0.2", "datasketch>=1.6", "datatrove>=0.10"],
    # No wheels: it compiles on installation, for an hour, and needs a CUDA compiler.
    "flash": ["flash-attn>=2.7; platform_system == 'Linux'"],
}
EXTRAS["dev"] = [
    *EXTRAS["plot"],
    *EXTRAS["convert"],
    *EXTRAS["data"],
    "hypothesis>=6.100",
    "mistral-common>=1.12",  # a real sentencepiece vocabulary for the tests: its data only
    "mypy>=1.15",
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "ruff>=0.12",
    "scipy>=1.15",  # statistical tests of what is drawn
    "types-PyYAML>=6.0",
    "types-tqdm>=4.66",
]
EXTRAS["all"] = [*EXTRAS["dev"], *EXTRAS["flash"]]

setup(
    name="lsw-hf",
    version=read_version(),
    description="Give a Hugging Face causal language model a longer context window, prove it, and publish it.",
    long_description=read_long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["lsw_hf", "lsw_hf.*"]),
    package_data={
        "lsw_hf": ["py.typed", "hub/*.md", "recipes/*.yaml", "evaluation/metrics/*/*", "evaluation/lm_eval_tasks/*"]
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["lsw-hf = lsw_hf.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
