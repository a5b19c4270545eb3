#!/usr/bin/env bash
# What the evidence of 1,000 peers takes in memory after a simulated day at the default intervals: what is counted, and what the heap says.
# Takes some minutes of one core; the length of the day is the argument. Needs only Go.
set -euo pipefail
cd "$(dirname "$0")/.."
EVIDENCE_SIMULATED=${1:-24h} go test ./exporter/evidence -run '^TestMemory$' -count=1 -timeout 2h -v
