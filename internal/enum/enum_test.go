package enum

import "testing"

func TestName(t *testing.T) {
	type state uint8
	for v, want := range map[state]string{0: "zero", 1: "one", 2: "unknown", 255: "unknown"} {
		if got := Name(v, "zero", "one"); got != want {
			t.Errorf("name of %d is %q, want %q", v, got, want)
		}
	}
}
