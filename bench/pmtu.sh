#!/usr/bin/env bash
# The first path MTU of 10,000 clean peers and of 1,000 peers behind black holes. The argument limits
# the time of each.
set -euo pipefail
exec "$(dirname "$0")/row.sh" pmtu "$@"
