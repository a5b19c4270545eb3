#!/usr/bin/env bash
# Error of the round-trip times at 10,000 echoes per second while the exporter is scraped. The
# argument is the duration.
set -euo pipefail
exec "$(dirname "$0")/row.sh" round-trip "$@"
