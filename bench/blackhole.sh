#!/usr/bin/env bash
# Measures, at the default intervals and on a real kernel, the time from a silent decrease of the
# path MTU to the diagnosis of a black hole, and from the increase back to its end. One round takes
# about two minutes; the argument is the number of rounds. Needs Go, and user namespaces or root.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIRE_NETNS=1 go test ./exporter -run '^$' -bench '^BenchmarkBlackHole$' -benchtime "${1:-3}x" -timeout 2h -v
