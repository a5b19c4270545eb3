package exporter

import (
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

// TestLimitGarbage: the variables of the Go runtime are obeyed. It runs alone.
func TestLimitGarbage(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for variable, want := range map[string]int{"": garbageBeside(500), "GOGC": 77, "GOMEMLIMIT": 77} {
		restore := limitGarbage(func(name string) string {
			if name == variable {
				return "set"
			}
			return ""
		}, 500)
		if got := debug.SetGCPercent(77); got != want {
			t.Errorf("with %q set: %d percent, want %d", variable, got, want)
		}
		debug.SetGCPercent(want)
		if restore(); debug.SetGCPercent(77) != 77 {
			t.Errorf("with %q set: not restored", variable)
		}
	}
}
