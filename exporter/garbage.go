package exporter

import (
	"runtime/debug"
)

// garbagePercent is how much garbage there may be, in percent of what is kept, before it is collected.
// Most of what is kept is the state of the peers, and there may be 100 MB of it: with the 100 percent
// of the Go runtime, half of the memory would be garbage. It costs one to two hundredths of a core with
// 10,000 peers.
const garbagePercent = 30

// limitGarbage sets how much garbage there may be, unless the variables of the Go runtime do: GOGC, or
// GOMEMLIMIT, which is a limit of its own. It returns a function that takes it back.
func limitGarbage(getenv func(string) string) (restore func()) {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(garbagePercent)
	return func() { debug.SetGCPercent(before) }
}
