package watch

import "testing"

// TestKeys: q, Ctrl-C and Escape alone end the screen; keys that send sequences do not.
func TestKeys(t *testing.T) {
	for keys, want := range map[string]bool{
		"q": true, "Q": true, "\x03": true, "\x1b": true, "x": false, "\x1b[A": false, "\x1b[Aq": true, "\x1b[5~": false, "\x1bOP": false,
		"\x1bOPq": true, "\x1bq": false, "ab q": true, "\x1b[": false, "\x1b[15": false, "\x1bO": false,
	} {
		if got := ends([]byte(keys)); got != want {
			t.Errorf("%q: %v, want %v", keys, got, want)
		}
	}
}
