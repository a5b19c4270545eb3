#!/usr/bin/env bash
# Measures the memory of the evidence of 1,000 peers after a simulated day at the default intervals:
# the program's own count and the heap. Takes some minutes of one core; the argument is the length
# of the day. Needs only Go.
set -euo pipefail
cd "$(dirname "$0")/.."
EVIDENCE_SIMULATED=${1:-24h} go test ./exporter/trace -run '^TestMemory$' -count=1 -timeout 2h -v
