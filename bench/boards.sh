#!/usr/bin/env bash
# The time of every query of every board, and of every rule, with a real Prometheus that has the
# series of 10,000 peers. Fails if a query or a group of rules takes more than 2 s. Takes ten minutes
# and 4 GB of memory. The argument is the number of peers. Needs Go and Prometheus.
set -euo pipefail
cd "$(dirname "$0")/.."
go test ./dashboards -run '^$' -bench 'Boards|Rules' -benchtime 2x -peers "${1:-10000}" -timeout 1h
