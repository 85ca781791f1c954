#!/bin/sh
# The commands of docs/compare/nnunet.md on phantoms, with trainings that are too short for useful scores.
# Needs `taichinet` and the commands of nnU-Net on the PATH. Usage: phantoms.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
python3 - <<PYTHON
from pathlib import Path
from taichinet.datasets.phantoms.folder import write_phantom_busi
write_phantom_busi(Path("phantoms"), benign=24, malignant=16, normal=12, seed=0, size=(96, 128))
PYTHON

taichinet train cpu-unet --data phantoms --set data.folds=3 --set training.epochs=2 --set options.width=4 -o runs
folds=runs/folds/busi-lesions-grouped-3folds-seed0.json

export nnUNet_raw="$PWD/nnUNet_raw" nnUNet_preprocessed="$PWD/nnUNet_preprocessed" nnUNet_results="$PWD/nnUNet_results"
export nnUNet_extTrainer="$here" nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1 nnUNet_compile=f
taichinet data export phantoms --format nnunet --folds "$folds" --dataset-id 500 -o nnUNet_raw
nnUNetv2_plan_and_preprocess -d 500 -c 2d --verify_dataset_integrity -np 1 -npfp 1
for fold in 0 1 2; do
    nnUNetv2_train 500 2d "$fold" -tr ShortTrainer -device cpu
done
nnUNetv2_accumulate_crossval_results 500 -c 2d -tr ShortTrainer -f 0 1 2 -o nnunet-masks

taichinet score nnunet-masks --data phantoms --folds "$folds" --size 128 --name nnU-Net -o scores/nnunet
taichinet report runs -o report --scores scores/nnunet --against nnU-Net
