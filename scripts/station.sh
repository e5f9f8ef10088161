#!/usr/bin/env bash
# A line to look at: a folder that fills up with parts, judged as they come, live on the page.
# Usage: scripts/station.sh [SECONDS between two parts]
set -euo pipefail

pause="${1:-3}"
out=demo
test -d "$out/bundles" || { echo "make station: expected $out/bundles, found none; type: make demo" >&2; exit 1; }
test -f "$out/station.toml" || lineside --quiet station "$out/station.toml" --init >/dev/null
bundle=$(basename "$(sed -n 's/^bundles = \["\([^"]*\)".*/\1/p' "$out/station.toml")")
category=${bundle%%-*}
# Other parts than those that the demo has indexed: a picture that is known already is no new record.
parts="$out/line/$category/test"
test -d "$parts" ||
  lineside sample-data "$out/line" --category "$category" --seed 77 --train 1 --test-good 24 --per-defect 6

# Parts in an order that looks like a line's: three good ones, then a bad one.
fill() {
  local number=0 bad part
  sleep 8
  while true; do
    for bad in $(find "$parts" -name '*.png' -not -path '*/good/*' | shuf); do
      for part in $(find "$parts/good" -name '*.png' | shuf -n 3) "$bad"; do
        number=$((number + 1))
        # Whole at once, as a careful camera writes it.
        cp "$part" "$out/.next.png"
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
