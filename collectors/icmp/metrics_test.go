package icmp_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/icmp"
)

// expose returns the page of a collector, without comments.
func expose(t *testing.T, c *icmp.Collector, now func() time.Time) string {
	t.Helper()
	s := collectorstest.OfPeer()
	s.Expose(icmp.NewExposer(s, c), now())
	return text(t, s)
}

func text(t *testing.T, s *collectorstest.Scope) string {
	t.Helper()
	var b strings.Builder
	for _, f := range s.Gather() {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, page)
		}
	}
}

func TestExposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(n int) []reply {
			switch n {
			case 0:
				return []reply{delivered(time.Second / 64), delivered(time.Second / 60)}
			case 1:
				return []reply{delivered(time.Second / 8)}
			}
			return nil
		})
		c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval, Buckets: icmp.ClassicBuckets})
		s := collectorstest.OfPeer()
		e := icmp.NewExposer(s, c)

		s.Expose(e, time.Now())
		wantLines(t, text(t, s), `ipsec_path_icmp_requests_total{peer="hq"} 0`, `ipsec_path_icmp_round_trip_seconds_count{peer="hq"} 0`)
		if strings.Contains(text(t, s), "reachable") {
			t.Error("a state before the first echo")
		}

		run(c, 3)
		s.Expose(e, time.Now())
		want := `ipsec_path_icmp_requests_total{peer="hq"} 3
ipsec_path_icmp_replies_total{peer="hq"} 2
ipsec_path_icmp_duplicates_total{peer="hq"} 1
ipsec_path_icmp_reachable{peer="hq"} 1
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.001"} 0
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.005"} 0
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.01"} 0
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.02"} 1
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.05"} 1
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.1"} 1
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.2"} 2
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="0.5"} 2
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="2"} 2
ipsec_path_icmp_round_trip_seconds_bucket{peer="hq",le="+Inf"} 2
ipsec_path_icmp_round_trip_seconds_sum{peer="hq"} 0.140625
ipsec_path_icmp_round_trip_seconds_count{peer="hq"} 2
`
		if diff := cmp.Diff(want, text(t, s)); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}

		run(c, 2) // now the last three are lost
		s.Expose(e, time.Now())
		wantLines(t, text(t, s), `ipsec_path_icmp_reachable{peer="hq"} 0`, `ipsec_path_icmp_requests_total{peer="hq"} 5`)

		time.Sleep(3 * interval)
		s.Expose(e, time.Now())
		wantLines(t, text(t, s), `ipsec_path_icmp_requests_total{peer="hq"} 5`)
		if strings.Contains(text(t, s), "reachable") {
			t.Error("a state though it is stale")
		}
	})
}

func TestBuckets(t *testing.T) {
	for _, tt := range []struct {
		buckets         icmp.Buckets
		native, classic bool
	}{
		{icmp.BothBuckets, true, true},
		{icmp.NativeBuckets, true, false},
		{icmp.ClassicBuckets, false, true},
		{icmp.NoBuckets, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, func(n int) []reply { return []reply{delivered(time.Duration(n+1) * 5 * time.Millisecond)} })
			c := icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{Interval: interval, Buckets: tt.buckets})
			run(c, 300)
			s := collectorstest.OfPeer()
			s.Expose(icmp.NewExposer(s, c), time.Now())
			histograms := 0
			for _, f := range s.Gather() {
				if f.GetType() != dto.MetricType_HISTOGRAM {
					continue
				}
				histograms++
				h := f.GetMetric()[0].GetHistogram()
				if h.GetSampleCount() != 300 {
					t.Errorf("buckets %v: %d samples", tt.buckets, h.GetSampleCount())
				}
				if native := len(h.GetPositiveDelta()); native > 100 || native > 0 != tt.native {
					t.Errorf("buckets %v: %d native buckets", tt.buckets, native)
				}
				if classic := len(h.GetBucket()); classic > 10 || classic > 0 != tt.classic {
					t.Errorf("buckets %v: %d classic buckets", tt.buckets, classic)
				}
			}
			if want := int(collectors.Bool(tt.native || tt.classic)); histograms != want {
				t.Errorf("buckets %v: %d histograms, want %d", tt.buckets, histograms, want)
			}
		})
	}
}

func TestFamiliesAreComplete(t *testing.T) {
	s := collectorstest.OfPeer()
	n := newNetwork(t, nil)
	icmp.NewExposer(s, icmp.New(t.Context(), icmp.NewShared(n, nil), target(address), icmp.Options{}))
	same := cmp.Comparer(func(a, b *collectors.Family) bool { return a == b })
	if diff := cmp.Diff(icmp.Families(), s.Families, same); diff != "" {
		t.Errorf("families (-listed +used):\n%s", diff)
	}
}
