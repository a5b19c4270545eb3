package exporter

import (
	"runtime/debug"
	"testing"
)

// TestLimitGarbage: the variables of the Go runtime are obeyed. It runs alone.
func TestLimitGarbage(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for variable, want := range map[string]int{"": garbagePercent, "GOGC": 77, "GOMEMLIMIT": 77} {
		restore := limitGarbage(func(name string) string {
			if name == variable {
				return "set"
			}
			return ""
		})
		if got := debug.SetGCPercent(77); got != want {
			t.Errorf("with %q set: %d percent, want %d", variable, got, want)
		}
		debug.SetGCPercent(want)
		if restore(); debug.SetGCPercent(77) != 77 {
			t.Errorf("with %q set: not restored", variable)
		}
	}
}
