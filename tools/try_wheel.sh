#!/usr/bin/env bash
# Check the size and the content of a wheel, install it into an empty environment, and use it outside of the repository.
#   tools/try_wheel.sh WHEEL [PYTHON]
set -euo pipefail
wheel=$(realpath "$1")
python=$(realpath --no-symlinks "$(command -v "${2:-python3}")")  # the link of an environment, not its target
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "$(basename "$wheel"): $*" >&2; exit 1; }

size=$(wc -c < "$wheel")
[ "$size" -le 20000000 ] || fail "$size bytes, more than 20 MB."

# Exactly the files of src/taichinet that git tracks: with the weights, and without caches or files of a developer.
"$python" -c 'import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep="\n")' "$wheel" \
    | grep -v '^[^/]*\.dist-info/' | sort > "$folder/packed"
git ls-files src/taichinet | sed 's#^src/##' | sort > "$folder/tracked"
diff --label "tracked by git" --label "in the wheel" -u0 "$folder/tracked" "$folder/packed" || fail "other files than in git."

# --without-pip: Debian's Python comes without ensurepip. The checkout must not be importable.
"$python" -m venv --without-pip "$folder/venv"
unset PYTHONPATH
export TAICHINET_CACHE="$folder/cache"
"$python" -m pip --disable-pip-version-check --python "$folder/venv/bin/python" install -qq "$wheel"
bin="$folder/venv/bin"
cd "$folder"
"$python" -m pip --disable-pip-version-check --python "$bin/python" check
"$bin/python" -c 'import torch' 2>/dev/null && fail "the light installation has torch."

version=$("$bin/taichinet" --version)
[[ "$(basename "$wheel")" == "${version/ /-}"-* ]] || fail "its version is '$version'."
"$bin/python" - <<'PYTHON'
from PIL import Image, ImageDraw, ImageFilter

scan = Image.effect_noise((400, 300), 40)  # speckle with a dark ellipse
ImageDraw.Draw(scan).ellipse((140, 90, 260, 180), fill=20)
scan.filter(ImageFilter.GaussianBlur(2)).save("scan.png")
PYTHON
"$bin/taichinet" predict scan.png -o masks
for kind in mask probability disagreement overlay; do
    [ -s "masks/scan_$kind.png" ] || fail "predict wrote no masks/scan_$kind.png."
done
"$bin/python" -c 'import taichinet; found = taichinet.segment("scan.png"); print(found); assert found.lesion_pixels'
echo "$(basename "$wheel"): $size bytes, installed and used."
