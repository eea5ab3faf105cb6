"""Packaging of Corpusmith. Runs no code of the project and downloads nothing."""

from setuptools import find_packages, setup

ROOMS = ["corpusmith", "raw_sources", "baselines", "dedup", "ray_processing", "training", "eval"]

TRAIN = ["torch>=2.9"]
EVAL = [*TRAIN]
DEV = [
    *TRAIN,
    "hypothesis>=6.150",
    "moto[server]>=5.2",
    "mypy>=2.0",
    "pytest>=9",
    "pytest-xdist>=3.8",
    "ruff>=0.14",
    "types-PyYAML",
    "uniseg==0.10.1",
    "webdataset>=1.0",
]

setup(
    name="corpusmith",
    version="0.1.0",
    description="Raw web crawl in; the pre-training set, the model trained on it and its scores out",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")]),
    package_data={
        "corpusmith": ["*.html", "*.css", "py.typed"],
        "baselines": ["baselines_configs/*.yaml"],
        "training": ["configs/*.json", "open_lm_configs/*.json"],
        "eval": ["*.yaml", "*.json", "*.csv", "sample_data/*.jsonl"],
    },
    install_requires=[
        "backports.zstd>=1.0",
        "fastwarc>=1.0",
        "isal>=1.8",
        "numba>=0.66",
        "numpy>=2,<2.5",
        "orjson>=3.11",
        "pyarrow>=24",
        "pyyaml>=6",
        "ray>=2.50",
        "resiliparse>=1.0",
        "rich>=14",
        "tiktoken>=0.12",
        "tokenizers>=0.22",
        "unidecode>=1.4",
        "xxhash>=3.5",
    ],
    extras_require={
        "train": TRAIN,
        "eval": EVAL,
        "mix": [*TRAIN, "scikit-learn>=1.7"],
        "dev": DEV,
        "all": [*DEV, "scikit-learn>=1.7"],
    },
    entry_points={"console_scripts": ["corpusmith=corpusmith.cli:main"]},
)
