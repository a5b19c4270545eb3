#!/usr/bin/env bash
# Measures the time from a fault of the path to the page, with the default intervals of the exporter
# and of Prometheus, and unchanged rules and routes. It switches black holes on and off, breaks a
# provider, kills an exporter, watches healthy peers for twenty minutes, and raises the alerts of
# each fault of the demo (one of them waits for an hour). Takes 70 minutes. Prints the time of each
# page and its limit. Needs Go, strongSwan, Prometheus and Alertmanager, and user namespaces or
# root.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIRE_NETNS=1 REQUIRE_DAEMONS=1 go test ./alerts -run "${1:-TestPages|TestExporterDies|TestHealthyUnderLoss|TestEveryFault}" -real -parallel 4 -timeout 3h -v
