#!/usr/bin/env bash
# Fifty scrapers, and clients that hold or break their connections, for ten minutes: no scrape may
# fail, and nothing may grow. The argument is a shorter duration.
set -euo pipefail
exec "$(dirname "$0")/row.sh" clients "$@"
