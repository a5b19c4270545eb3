// Package load holds the programs that run beside the exporter in benchmarks: a reference loop that
// sends echoes as cheaply as one socket allows, a flood of forged packets, slow and hostile HTTP
// clients, and a process that keeps the processors busy.
package load
