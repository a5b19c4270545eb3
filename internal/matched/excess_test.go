package matched_test

import (
	"testing"

	"ipsec_path_exporter/internal/matched"
)

// TestExceeds: the least number of lost packets that chance does not explain, as in tables of the
// binomial distribution.
func TestExceeds(t *testing.T) {
	for _, tt := range []struct {
		sent, least int
		share       float64
	}{{8, 5, 0.1}, {20, 8, 0.1}, {40, 12, 0.1}, {60, 15, 0.1}, {60, 23, 0.2}} {
		if matched.Exceeds(tt.least-1, tt.sent, tt.share, 0.001) || !matched.Exceeds(tt.least, tt.sent, tt.share, 0.001) {
			t.Errorf("of %d at %v: the least is not %d", tt.sent, tt.share, tt.least)
		}
	}
	if matched.Exceeds(0, 0, 0.1, 0.001) || matched.Exceeds(0, 60, 0, 0.001) {
		t.Error("nothing lost exceeds a share")
	}
}

// TestFallsShort: the tea of the lady (Fisher, 1935) is all right with 1 in 70; a limit for ICMP alone.
func TestFallsShort(t *testing.T) {
	for _, tt := range []struct {
		lost, sent, othersLost, others int
		alpha                          float64
		want                           bool
	}{
		{0, 4, 4, 4, 1.01 / 70, true},
		{0, 4, 4, 4, 0.99 / 70, false},
		{1, 4, 3, 4, 0.05, false},
		{2, 20, 38, 60, 0.001, true},
		{2, 8, 16, 20, 0.001, false},
		{0, 0, 16, 20, 0.001, false},
		{20, 20, 1, 60, 0.001, false},
	} {
		if got := matched.FallsShort(tt.lost, tt.sent, tt.othersLost, tt.others, tt.alpha); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}
