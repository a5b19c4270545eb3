#!/usr/bin/env bash
# Measures all rows and prints the table of docs/performance.md. Takes an hour and three quarters. The
# argument is a duration for all rows, to try it. Exits with 1 if a goal was missed.
set -uo pipefail
here=$(dirname "$0")
RESULTS=${RESULTS:-$(mktemp)}
export RESULTS
status=0
for row in start cpu-1s cpu-10s few round-trip memory ingest pmtu ike flood clients loss verdicts; do
	echo "== $row" >&2
	"$here/$row.sh" "$@" >&2 || status=1
done
echo "== scrape" >&2
"$here/scrape.sh" >&2 || status=1
cd "$here/.." && go run ./bench/pathbench table "$RESULTS"
exit $status
