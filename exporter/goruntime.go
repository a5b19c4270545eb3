package exporter

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// garbagePercent is how much garbage there may be, in percent of what is kept, before it is
	// collected. Most of what is kept is the state of the peers, and there may be 100 MB of it:
	// with the 100 percent of the Go runtime, half of the memory would be garbage.
	garbagePercent = 30
	// leastGarbage is how many bytes there may be in any case: with few peers, collections would
	// follow each other for the sake of little memory.
	leastGarbage = 16 << 20
	// keptAlways and keptPerPeer are about what is kept, in bytes.
	keptAlways, keptPerPeer = 6 << 20, 15 << 10
	// onOneProcessor is the number of peers up to which the exporter uses one processor. It sleeps
	// between two packets then, and the runtime would wake a second thread each time to look for
	// more work.
	onOneProcessor = 250
)

// A goRuntime is what the exporter sets of the Go runtime. The variables of the runtime take
// precedence.
type goRuntime struct {
	getenv func(string) string
	// program means that this process does nothing else.
	program bool
}

func newGoRuntime(program bool) goRuntime { return goRuntime{getenv: os.Getenv, program: program} }

// limitGarbage sets how much garbage there may be beside the state of this many peers, unless GOGC
// does, or GOMEMLIMIT, which is a limit of its own. It returns a function that takes it back.
func (g goRuntime) limitGarbage(peers int) (restore func()) {
	if g.getenv("GOGC") != "" || g.getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(garbageBeside(peers))
	return func() { debug.SetGCPercent(before) }
}

// garbageBeside returns the limit for a number of peers in percent of what is kept.
func garbageBeside(peers int) int {
	return max(garbagePercent, 100*leastGarbage/(keptAlways+peers*keptPerPeer))
}

// follow sets what depends on the number of peers.
func (g goRuntime) follow(peers int) {
	g.limitGarbage(peers)
	switch {
	case !g.program || g.getenv("GOMAXPROCS") != "":
	case peers <= onOneProcessor:
		runtime.GOMAXPROCS(1)
	default:
		runtime.SetDefaultGOMAXPROCS()
	}
}
