#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image: Python's packages, and the sandbox.
set -e
apt-get update
apt-get install -y python3-venv bubblewrap
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu \
    -r /autograder/source/requirements.txt -c /autograder/source/constraints.txt
