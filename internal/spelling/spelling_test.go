package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"check", "capture", "demo", "serve", "--output"}
	for word, want := range map[string]string{
		"chekc": "check", "chck": "check", "serv": "serve", "--ouptut": "--output", "measure": "", "d": "", "": "", "check": "check",
		strings.Repeat("check", 20): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
