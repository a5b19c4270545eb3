#!/usr/bin/env bash
# How long it takes, at the default intervals and on a real kernel, until a path MTU black hole is diagnosed after the path has shrunk
# without a word, and until the diagnosis is cleared after the path has grown back. Takes some two minutes per round; the number of
# rounds is the argument. Needs Go, and user namespaces or root.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIRE_NETNS=1 go test ./exporter -run '^$' -bench '^BenchmarkBlackHole$' -benchtime "${1:-3}x" -timeout 2h -v
