package collectors_test

import (
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
)

func TestSampler(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	s := collectors.Sampler{Size: 4}
	for i, lost := range []bool{true, false, true, true, true, false} {
		s.Add(at(i), lost)
		if i < 3 && s.Last.Sent > 0 {
			t.Errorf("complete after %d", i+1)
		}
	}
	want := [2]collectors.Sample{{Sent: 4, Lost: 3, Since: at(0)}, {Sent: 2, Lost: 1, Since: at(4)}}
	if got := [2]collectors.Sample{s.Last, s.Current}; got != want {
		t.Errorf("samples %+v, want %+v", got, want)
	}
	s.Answered(at(2))
	s.NotSent(at(3))
	s.Answered(at(4))
	s.Answered(at(5)) // was not lost
	want = [2]collectors.Sample{{Sent: 3, Lost: 1, Since: at(0)}, {Sent: 2, Since: at(4)}}
	if got := [2]collectors.Sample{s.Last, s.Current}; got != want {
		t.Errorf("corrected %+v, want %+v", got, want)
	}
	if s.Forget(); s.Last.Sent+s.Current.Sent > 0 {
		t.Errorf("%+v", s)
	}
}

func TestSamplePlus(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	older, newer := collectors.Sample{Sent: 10, Lost: 1, Since: start}, collectors.Sample{Sent: 10, Lost: 4, Since: start.Add(time.Minute)}
	want := collectors.Sample{Sent: 20, Lost: 5, Since: start}
	for _, got := range []collectors.Sample{older.Plus(newer), newer.Plus(older), want.Plus(collectors.Sample{}), collectors.Sample{}.Plus(want)} {
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := want.Share(); got != 0.25 {
		t.Errorf("share %v", got)
	}
	if got := (collectors.Sample{}).Share(); got != 0 {
		t.Errorf("share of nothing %v", got)
	}
}
