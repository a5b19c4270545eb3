#!/usr/bin/env bash
# Measures how long `check` takes on a clean path, on black holes, on a lossy path and of silent peers,
# and prints what it finds: the table in docs/check.md. The argument is the number of runs. Takes two
# minutes a run. Needs Go, and root or user namespaces. EXPORTER is a program to measure before this
# tree's, to compare both on the same machine. PATHS, a regular expression, selects lines.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
go build -o "$build/ipsec_path_exporter" .
go test -c -o "$build/check.test" ./exporter/check
for program in ${EXPORTER:+"$(realpath "$EXPORTER")"} "$build/ipsec_path_exporter"; do
	echo "== $("$program" --version 2>&1 | head -n 1): $program"
	(cd exporter/check && EXPORTER=$program REQUIRE_NETNS=1 "$build/check.test" -test.run '^$' \
		-test.bench "^BenchmarkCheck\$/${PATHS:-.}" -test.benchtime "${1:-1}x" -test.timeout 2h -test.v) |
		sed -un 's/^ *bench_test.go:[0-9]*: //p; /FAIL\|panic/p'
done
