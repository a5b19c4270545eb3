#!/usr/bin/env bash
# From the path to the pager at the intervals that everybody has: exporter and Prometheus at their defaults, rules and routes unchanged. Black
# holes are switched on and off, a provider breaks, an exporter dies, healthy peers are watched for twenty minutes, and each fault of the demo
# raises its alerts (one of which waits for an hour). Takes 70 minutes. Prints how long each page took, of how long at most. Needs Go,
# strongSwan, Prometheus and Alertmanager, and user namespaces or root.
set -euo pipefail
cd "$(dirname "$0")/.."
REQUIRE_NETNS=1 REQUIRE_DAEMONS=1 go test ./alerts -run "${1:-TestPages|TestExporterDies|TestHealthyUnderLoss|TestEveryFault}" -real -parallel 4 -timeout 3h -v
