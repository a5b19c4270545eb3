package exporter

import (
	"os"
	"runtime/debug"
)

const (
	// garbagePercent is how much garbage there may be, in percent of what is kept, before it is collected.
	// Most of what is kept is the state of the peers, and there may be 100 MB of it: with the 100 percent
	// of the Go runtime, half of the memory would be garbage.
	garbagePercent = 30
	// leastGarbage is how many bytes there may be in any case: with few peers, collections would follow
	// each other for the sake of little memory.
	leastGarbage = 16 << 20
	// keptAlways and keptPerPeer are about what is kept, in bytes.
	keptAlways, keptPerPeer = 6 << 20, 15 << 10
)

// limitGarbage sets how much garbage there may be beside the state of this many peers, unless the variables of
// the Go runtime do: GOGC, or GOMEMLIMIT, which is a limit of its own. It returns a function that takes
// it back.
func limitGarbage(getenv func(string) string, peers int) (restore func()) {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(garbageBeside(peers))
	return func() { debug.SetGCPercent(before) }
}

// garbageBeside returns the limit for a number of peers in percent of what is kept.
func garbageBeside(peers int) int {
	return max(garbagePercent, 100*leastGarbage/(keptAlways+peers*keptPerPeer))
}

// followPeers sets the limit for another number of peers.
func followPeers(peers int) { limitGarbage(os.Getenv, peers) }
