#!/usr/bin/env bash
# Measures one row of the table in docs/performance.md: row.sh NAME [DURATION] [FLAGS of pathbench].
# Prints a line for each goal and exits with 1 if one is missed, with 2 if it could not measure.
# Needs Go, and root or user namespaces. EXPORTER is a program to measure in place of this tree's;
# RESULTS is a file to which the results are added.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
arguments=()
if [[ $# -gt 0 && $1 != -* ]]; then
	arguments+=(--duration "$1")
	shift
fi
if [[ -n ${RESULTS:-} ]]; then
	arguments+=(--results "$(realpath -m "$RESULTS")")
fi
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
go build -o "$build/pathbench" ./bench/pathbench
exporter=${EXPORTER:-}
if [[ -z $exporter ]]; then
	exporter=$build/ipsec_path_exporter
	go build -o "$exporter" .
fi
"$build/pathbench" row "$name" --exporter "$(realpath "$exporter")" "${arguments[@]}" "$@"
