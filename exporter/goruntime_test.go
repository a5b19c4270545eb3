package exporter

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestGarbageBeside: what is kept of few peers is small, and so would be the time between collections.
func TestGarbageBeside(t *testing.T) {
	for peers, want := range map[int]int{0: 266, 10: 260, 1000: 77, 10_000: garbagePercent, 1_000_000: garbagePercent} {
		if got := garbageBeside(peers); got != want {
			t.Errorf("%d peers: %d %%, want %d", peers, got, want)
		}
	}
}

// withVariable returns a goRuntime in whose environment one variable is set.
func withVariable(variable string, program bool) goRuntime {
	return goRuntime{program: program, getenv: func(name string) string {
		if name == variable {
			return "set"
		}
		return ""
	}}
}

// TestLimitGarbage: the variables of the Go runtime are obeyed. It runs alone.
func TestLimitGarbage(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for variable, want := range map[string]int{"GOMAXPROCS": garbageBeside(500), "GOGC": 77, "GOMEMLIMIT": 77} {
		restore := withVariable(variable, true).limitGarbage(500)
		if got := debug.SetGCPercent(77); got != want {
			t.Errorf("with %q set: %d percent, want %d", variable, got, want)
		}
		debug.SetGCPercent(want)
		if restore(); debug.SetGCPercent(77) != 77 {
			t.Errorf("with %q set: not restored", variable)
		}
	}
}

// TestProcessors: few peers take one processor, more take all again, unless somebody else decides. It runs
// alone.
func TestProcessors(t *testing.T) {
	percent := debug.SetGCPercent(77)
	defer debug.SetGCPercent(percent)
	defer runtime.SetDefaultGOMAXPROCS()
	runtime.SetDefaultGOMAXPROCS()
	const given = 3 // that nothing else sets
	all := runtime.GOMAXPROCS(given)
	for _, tt := range []struct {
		variable     string
		program      bool
		peers, procs int
	}{
		{"", true, onOneProcessor, 1},
		{"", true, onOneProcessor + 1, all},
		{"GOMAXPROCS", true, 1, given},
		{"", false, 1, given},
	} {
		runtime.GOMAXPROCS(given)
		withVariable(tt.variable, tt.program).follow(tt.peers)
		if got := runtime.GOMAXPROCS(0); got != tt.procs {
			t.Errorf("%+v: %d processors", tt, got)
		}
	}
}
