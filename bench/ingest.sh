#!/usr/bin/env bash
# CPU of a scrape of 10,000 peers, against what Prometheus spends on it. The argument is the length of
# each of the three windows.
set -euo pipefail
exec "$(dirname "$0")/row.sh" ingest "$@"
