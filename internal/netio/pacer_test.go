package netio

import (
	"testing"
	"time"
)

// TestPacer: in any second no more leaves than the budget and the burst, and no less where there is
// demand.
func TestPacer(t *testing.T) {
	for name, tt := range map[string]struct {
		limits        Limits
		packets, size int
	}{
		"packets bind":         {Limits{PacketsPerSecond: 1000, BytesPerSecond: 1e9}, 1, 100},
		"bytes bind":           {Limits{PacketsPerSecond: 1e6, BytesPerSecond: 1e6}, 1, 1500},
		"fragments":            {Limits{PacketsPerSecond: 1000, BytesPerSecond: 1e9}, 3, 4000},
		"a packet every while": {Limits{PacketsPerSecond: 1, BytesPerSecond: 1e6}, 1, 100},
	} {
		p := newPacer(tt.limits)
		begin := time.Now()
		now := begin
		var left int
		for now.Sub(begin) < 20*time.Second {
			now = now.Add(p.reserve(now, tt.packets, tt.size))
			left++
		}
		seconds := now.Sub(begin).Seconds()
		rate := min(tt.limits.PacketsPerSecond/float64(tt.packets), tt.limits.BytesPerSecond/float64(tt.size))
		burst := max(1, rate*burstTime.Seconds(), float64(maxPacket/tt.size)*min(1, rate/tt.limits.PacketsPerSecond*float64(tt.packets)))
		if got := float64(left); got < rate*seconds*0.99-1 || got > rate*seconds*1.01+burst+float64(maxPacket)/float64(tt.size) {
			t.Errorf("%s: %d in %.1f s, want %.0f and a burst", name, left, seconds, rate*seconds)
		}
		if p.delayed.Load() <= 0 {
			t.Errorf("%s: nothing was delayed", name)
		}
	}
}

// TestPacerBurst: a twentieth of a second's worth leaves at once after a pause, and no more.
func TestPacerBurst(t *testing.T) {
	p := newPacer(Limits{PacketsPerSecond: 2000, BytesPerSecond: 1e9})
	now := time.Now().Add(time.Hour)
	n := 0
	for p.reserve(now, 1, 100) == 0 {
		n++
	}
	if n != 100 {
		t.Errorf("%d packets leave at once, want 100", n)
	}
}
