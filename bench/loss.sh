#!/usr/bin/env bash
# False loss at 10,000 echoes per second for ten minutes. The exporter is scraped every second and
# stopped for 2 s every minute, and a second process computes on all cores. The argument is a shorter
# duration.
set -euo pipefail
exec "$(dirname "$0")/row.sh" loss "$@"
