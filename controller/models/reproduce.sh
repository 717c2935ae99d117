#!/usr/bin/env bash
# Makes the shipped forecaster anew: traces from the simulator, training, the proof that tract gives
# the trainer's answers, errors on data it never saw. Some three minutes on two cores once built.
# The same seeds on the same kind of processor give the same rack-power.onnx, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
work="${1:-$CARGO_TARGET_DIR/rack-power}"
rm -rf "$work"
mkdir -p "$work"
cargo build --release --workspace
for seed in 11 12 13 14 15 16; do
    "$CARGO_TARGET_DIR/release/headroom-sim" trace --hours 12 --seed "$seed" --out "$work/trace-$seed.csv"
done
"$CARGO_TARGET_DIR/release/headroom-train" fit --csv "$work"/trace-*.csv --out "$work/fit" --width 128 --seed 1 \
    --description "headroom-sim trace, 12 h each with seeds 11 to 16: 4 racks of 8 GPUs of H100 class, random load under random limits" \
    --licence "Apache-2.0 OR MIT (made by this project's simulator)" | tee "$work/result.txt"
cp "$work/fit/model.onnx" controller/models/rack-power.onnx
cp "$work/fit/manifest.json" controller/models/rack-power.manifest.json
cp "$work/fit/probes.json" controller/models/rack-power.probes.json
cp "$work/fit/loss.svg" controller/models/rack-power.loss.svg
