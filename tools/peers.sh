#!/usr/bin/env bash
# Make the environments of the programs that benchmarks and interchange tests compare with, each apart from ours.
# usage: tools/peers.sh [NAME ...]   (all by default; one that cannot be installed is named and skipped)
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

install() {
    local pip=".peers/$1/bin/python -m pip install --quiet"
    case $1 in
        datatrove) $pip "datatrove[processing,io]==0.10.1" spacy orjson tokenizers ;;
        dolma) $pip "dolma==1.2.1" "numpy<2" ;;
        rensa) $pip "rensa==0.5.0" "numpy>=2" ;;
        lm_eval) $pip "torch==2.13.0" lm-eval transformers accelerate ;;
        streaming)
            $pip "torch==2.13.0" numpy zstandard xxhash python-snappy brotli boto3 tqdm requests matplotlib \
                paramiko filelock transformers zstd catalogue &&
                $pip --no-deps mosaicml-streaming==0.13.0
            ;;
        *) echo "no peer named $1" >&2; return 2 ;;
    esac
}

failed=0
for name in "${@:-datatrove dolma rensa lm_eval streaming}"; do
    for peer in $name; do
        if [ -e ".peers/$peer/.installed" ]; then continue; fi
        echo "peer $peer"
        if "$PYTHON" -m venv ".peers/$peer" && ".peers/$peer/bin/python" -m pip install --quiet --upgrade pip &&
            install "$peer"; then
            touch ".peers/$peer/.installed"
        else
            echo "peer $peer could not be installed" >&2
            failed=1
        fi
    done
done
exit $failed
