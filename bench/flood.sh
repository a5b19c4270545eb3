#!/usr/bin/env bash
# 50,000 forged ICMP and UDP packets per second for three minutes: no verdict may change. The
# argument is a shorter duration.
set -euo pipefail
exec "$(dirname "$0")/row.sh" flood "$@"
