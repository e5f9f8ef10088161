#!/usr/bin/env bash
# The whole road once, on procedural parts: photographs in, verdict and neighbours out.
# Usage: scripts/demo.sh [tile|leather|grid|all]
set -euo pipefail

category="${1:-tile}"
out=demo
if [ "$category" = all ]; then categories="tile leather grid"; else categories="$category"; fi
started=$(date +%s)

step() { printf '\n\033[1m%s\033[0m\n' "$1"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

mkdir -p "$out/bundles"
bundles=()
for name in $categories; do
  step "$name: procedural parts in MVTec AD's layout"
  run lineside sample-data "$out/parts" --category "$name"
  for model in patchcore efficientad; do
    bundle="$out/bundles/$name-$model"
    bundles+=("$bundle")
    step "$name: train $model with anomalib, export to OpenVINO and ONNX, certify against torch"
    if [ -f "$bundle/bundle.json" ]; then
      echo "already there: $bundle (remove it to train again)"
    else
      run lineside train --model "$model" --data "$out/parts" --category "$name" --out "$bundle"
    fi
  done
done

step "Replay the golden images on this machine"
for bundle in "${bundles[@]}"; do run lineside verify "$bundle"; done

step "Evaluation through the exported bundles"
run lineside evaluate "${bundles[@]}" --data "$out/parts"

first=${categories%% *}
flagged=$(find "$out/parts/$first/test" -name 000.png -not -path '*/good/*' | sort | head -n 1)
step "Remember the inspected parts, then ask for the five most like a flagged one"
for name in $categories; do
  run lineside index "$out/bundles/$name-patchcore" --images "$out/parts/$name/test" --store "$out/neighbours"
done
run lineside inspect "$out/bundles/$first-patchcore" "$flagged" --save-maps "$out/maps"
run lineside search "$out/bundles/$first-patchcore" "$flagged" --store "$out/neighbours"

step "Latency on this machine"
for bundle in "${bundles[@]}"; do
  for engine in openvino onnxruntime; do run lineside bench "$bundle" --engine "$engine"; done
done

step "Done in $(($(date +%s) - started)) s. Heat map: $out/maps. Where to go next:"
echo "  make station                               a line to look at: parts that come, live on the page"
echo "  make app                                   the page for single pictures on these bundles"
echo "  make demo CATEGORY=all                     tile, leather and grid"
echo "  lineside train --model patchcore --data YOUR/GOOD/PICTURES --out mine     your own parts"
echo "  docs/                                      how it all works"
