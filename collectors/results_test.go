package collectors_test

import (
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
)

func TestFresh(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := map[string]struct {
		at    time.Time
		every time.Duration
		want  bool
	}{
		"new":                    {now, time.Minute, true},
		"three intervals":        {now.Add(-3 * time.Minute), time.Minute, true},
		"more":                   {now.Add(-3*time.Minute - 1), time.Minute, false},
		"from a later clock":     {now.Add(time.Second), time.Minute, true},
		"never measured":         {time.Time{}, time.Minute, false},
		"old, on demand":         {now.Add(-24 * time.Hour), 0, true},
		"on demand, interval -1": {now.Add(-24 * time.Hour), -1, true},
		"never, on demand":       {time.Time{}, 0, false},
	}
	for name, tt := range tests {
		if got := collectors.Fresh(tt.at, now, tt.every); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
