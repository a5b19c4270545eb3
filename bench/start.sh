#!/usr/bin/env bash
# The time until /metrics answers with 10,000 peers.
set -euo pipefail
exec "$(dirname "$0")/row.sh" start "$@"
