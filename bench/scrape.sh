#!/usr/bin/env bash
# CPU, allocations and memory of a scrape of 10,000 peers, against families that are ready and against
# const metrics of the Prometheus client library. The argument is the number of scrapes. Needs only
# Go. RESULTS is a file to which the results are added.
set -euo pipefail
cd "$(dirname "$0")/.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT
go test ./exporter/store -run '^$' -bench '^BenchmarkScrape$' -benchtime "${1:-5}x" -timeout 30m | tee "$output"
go run ./bench/pathbench scrape ${RESULTS:+--results "$(realpath -m "$RESULTS")"} "$output"
