package lastday_test

import (
	"runtime"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/lastday"
)

// noon is the start of a quarter.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

const healthyTrip = 20 * time.Millisecond

func healthy() lastday.Sample {
	return lastday.Sample{Health: lastday.Healthy, RoundTrip: healthyTrip, Bytes: 1500}
}

// TestDay: the worst of each quarter counts, and what was not sampled is unknown.
func TestDay(t *testing.T) {
	var d lastday.Day
	for _, q := range d.Quarters(noon) {
		if q.Health != lastday.NotSampled || q.Loss >= 0 || q.RoundTrip != 0 || q.Bytes != 0 {
			t.Fatalf("an empty day has %+v", q)
		}
	}
	d.Add(noon, healthy())
	d.Add(noon.Add(time.Minute), lastday.Sample{Health: lastday.Critical, Loss: 0.25, RoundTrip: 80 * time.Millisecond, Bytes: 1400})
	d.Add(noon.Add(2*time.Minute), healthy())
	d.Add(noon.Add(46*time.Minute), lastday.Sample{Health: lastday.Unknown, Loss: -1})
	got := d.Quarters(noon.Add(46 * time.Minute))
	worst, gap, unknown := got[lastday.Quarters-4], got[lastday.Quarters-3], got[lastday.Quarters-1]
	if worst.Health != lastday.Critical || worst.Loss < 0.25 || worst.Loss > 0.3 || worst.Bytes != 1400 {
		t.Errorf("the worst of a quarter is %+v", worst)
	}
	if worst.RoundTrip < 80*time.Millisecond || worst.RoundTrip > 85*time.Millisecond {
		t.Errorf("round trip %v", worst.RoundTrip)
	}
	if gap.Health != lastday.NotSampled || gap.Loss >= 0 || gap.Bytes != 0 {
		t.Errorf("a quarter without samples is %+v", gap)
	}
	if unknown.Health != lastday.Unknown || unknown.Loss >= 0 || unknown.RoundTrip != 0 {
		t.Errorf("an unknown quarter is %+v", unknown)
	}
}

// TestDayRolls: a day holds 24 hours and no more, also over a standstill, and a clock that is set
// back starts it again.
func TestDayRolls(t *testing.T) {
	var d lastday.Day
	for i := range 200 {
		s := healthy()
		if i%50 == 0 {
			s.Bytes = 1300 + i
		}
		d.Add(noon.Add(time.Duration(i)*lastday.Quarter), s)
	}
	end := noon.Add(199 * lastday.Quarter)
	for i, q := range d.Quarters(end) {
		want := 1500
		if n := 200 - lastday.Quarters + i; n%50 == 0 {
			want = 1300 + n
		}
		if q.Health != lastday.Healthy || q.Bytes != want {
			t.Errorf("quarter %d: %+v, want %d bytes", i, q, want)
		}
	}
	d.Add(end.Add(48*time.Hour), healthy())
	for i, q := range d.Quarters(end.Add(48 * time.Hour)) {
		if (q.Health == lastday.Healthy) != (i == lastday.Quarters-1) {
			t.Errorf("after two days quarter %d is %+v", i, q)
		}
	}
	d.Add(noon, healthy())
	if q := d.Quarters(noon)[lastday.Quarters-1]; q.Health != lastday.Healthy {
		t.Errorf("after the clock was set back: %+v", q)
	}
}

// TestScales: no loss is shown as none, and no value is rounded down.
func TestScales(t *testing.T) {
	for _, loss := range []float64{0, 0.0001, 0.01, 1.0 / 60, 0.1, 0.5, 1} {
		var d lastday.Day
		d.Add(noon, lastday.Sample{Health: lastday.Healthy, Loss: loss})
		got := d.Quarters(noon)[lastday.Quarters-1].Loss
		if got < loss || got > loss+0.07 || loss > 0 && got == 0 {
			t.Errorf("a loss of %v is shown as %v", loss, got)
		}
	}
	for trip := 50 * time.Microsecond; trip < 100*time.Second; trip = trip * 5 / 3 {
		var d lastday.Day
		d.Add(noon, lastday.Sample{Health: lastday.Healthy, RoundTrip: trip})
		got := d.Quarters(noon)[lastday.Quarters-1].RoundTrip
		if float64(got) < 0.999*float64(trip) || float64(got) > 1.07*float64(trip) {
			t.Errorf("a round trip of %v is shown as %v", trip, got)
		}
	}
}

func TestHealthOf(t *testing.T) {
	for _, tt := range []struct {
		worst          diagnosis.Severity
		healthy, known bool
		want           lastday.Health
	}{
		{"", true, true, lastday.Healthy},
		{"", false, false, lastday.Unknown},
		{"", true, false, lastday.Unknown},
		{diagnosis.Info, false, true, lastday.Info},
		{diagnosis.Warning, false, true, lastday.Warning},
		{diagnosis.Critical, false, true, lastday.Critical},
	} {
		if got := lastday.HealthOf(tt.worst, tt.healthy, tt.known); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// dayBytes is what the day of a healthy peer may take.
const dayBytes = 300

// TestMemory fills a day of many peers.
func TestMemory(t *testing.T) {
	const n = 10_000
	days := make([]*lastday.Day, n)
	before := heap()
	for i := range days {
		days[i] = &lastday.Day{}
		for q := range lastday.Quarters {
			days[i].Add(noon.Add(time.Duration(q)*lastday.Quarter), healthy())
		}
	}
	per := (heap() - before) / n
	t.Logf("the day of a healthy peer takes %.0f bytes", per)
	if runtime.KeepAlive(days); per > dayBytes {
		t.Errorf("%.0f bytes, at most %d are wanted", per, dayBytes)
	}
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkAdd is what a sample costs: one a minute for each peer.
func BenchmarkAdd(b *testing.B) {
	var d lastday.Day
	at := noon
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Minute)
		d.Add(at, healthy())
	}
}
