#!/usr/bin/env bash
# A line to look at: a folder that fills up with the demo's parts, judged as they come, live on the page.
# Usage: scripts/station.sh [SECONDS between two parts]
set -euo pipefail

pause="${1:-3}"
out=demo
test -d "$out/bundles" || { echo "make station: expected $out/bundles, found none; type: make demo" >&2; exit 1; }
test -f "$out/station.toml" || lineside station "$out/station.toml" --init >/dev/null

# Parts in an order that looks like a line's: three good ones, then whatever comes.
fill() {
  local good bad number=0
  category=$(basename "$(sed -n 's/^bundles = \["\(.*\)"\]/\1/p' "$out/station.toml")")
  parts="$out/parts/${category%-patchcore}/test"
  sleep 8
  while true; do
    for bad in "$parts"/*/*.png; do
      case "$bad" in */good/*) continue ;; esac
      for good in $(find "$parts/good" -name '*.png' | shuf -n 3) "$bad"; do
        number=$((number + 1))
        # Whole at once, as a careful camera writes it.
        cp "$good" "$out/.next.png"
        mv "$out/.next.png" "$out/incoming/$(date +%H%M%S)-$number.png"
        sleep "$pause"
      done
    done
  done
}

mkdir -p "$out/incoming"
fill &
filler=$!
trap 'kill "$filler" 2>/dev/null || true' EXIT
lineside station "$out/station.toml"
