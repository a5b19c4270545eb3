package pmtu

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// exposed returns what is set.
func exposed(s *collectorstest.Scope) []string {
	var lines []string
	for _, f := range s.Gather() {
		m := f.GetMetric()[0]
		words := []string{strings.TrimPrefix(f.GetName(), "ipsec_path_")}
		for _, l := range m.GetLabel() {
			words = append(words, l.GetName()+"="+l.GetValue())
		}
		lines = append(lines, fmt.Sprintf("%s %g", strings.Join(words, " "), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
	}
	slices.Sort(lines)
	return lines
}

func TestExposer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, Route: netio.Route{CachedMTU: 1400}}, 1)
		c := collector(t, path, collectors.ICMP, collectors.IKE)
		var s collectorstest.Scope
		e := NewExposer(c, &s, time.Minute)
		check := func(when string, want ...string) {
			t.Helper()
			s.Expose(e, time.Now())
			if diff := cmp.Diff(want, exposed(&s)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		measure := func() {
			t.Helper()
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
		}
		check("before the first round", "mtu_changes_total 0", "ptb_received_total 0")
		measure()
		reduced := []string{
			"mtu_black_hole 0", "mtu_bytes method=icmp 1400", "mtu_bytes method=ike 1400", "mtu_changes_total 0",
			"mtu_kernel_cached_bytes 1400", "mtu_link_bytes 1500",
			"mtu_state method=icmp state=reduced 1", "mtu_state method=ike state=reduced 1", "ptb_received_total 4",
		}
		check("reduced", reduced...)
		time.Sleep(3*time.Minute - time.Second)
		check("not yet stale", reduced...)
		time.Sleep(2 * time.Second)
		check("stale", "mtu_changes_total 0", "ptb_received_total 4")
		path.Set(func(c *netsim.Config) { c.MTU, c.DropICMP, c.Route.CachedMTU = 1300, true, 1500 })
		measure()
		check("a black hole, and echoes die", "mtu_black_hole 1", "mtu_bytes method=ike 1300", "mtu_changes_total 1",
			"mtu_direction direction=forward 1", "mtu_link_bytes 1500",
			"mtu_state method=icmp state=unreachable 1", "mtu_state method=ike state=black_hole 1", "ptb_received_total 4")
		path.Set(func(c *netsim.Config) { c.MTU, c.DropICMP = 1500, false })
		measure()
		check("clean", "mtu_black_hole 0", "mtu_bytes method=icmp 1500", "mtu_bytes method=ike 1500", "mtu_changes_total 3",
			"mtu_link_bytes 1500", "mtu_state method=icmp state=clean 1", "mtu_state method=ike state=clean 1", "ptb_received_total 4")
	})
}

// TestExposedDirection: each direction has its bounds while a black hole is there.
func TestExposedDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(limited(false, func(c *netsim.Config) { c.MTU, c.Narrow, c.ReverseMTU = 1450, 2, 1400 }), 1)
		c := located(t, path)
		c.opts.Methods = []collectors.Method{collectors.ICMP}
		var s collectorstest.Scope
		e := NewExposer(c, &s, time.Minute)
		for _, tt := range []struct {
			change func(*netsim.Config)
			want   []string
		}{
			{func(*netsim.Config) {}, []string{
				"mtu_direction direction=both 1", "mtu_forward_lower_bytes 1450", "mtu_forward_upper_bytes 1450",
				"mtu_reverse_lower_bytes 1400", "mtu_reverse_upper_bytes 1400",
			}},
			{func(c *netsim.Config) { c.ReverseMTU = 1500 }, []string{
				"mtu_direction direction=forward 1", "mtu_forward_lower_bytes 1450", "mtu_forward_upper_bytes 1450", "mtu_reverse_lower_bytes 1500",
			}},
			{func(c *netsim.Config) { c.MTU = 1500 }, []string{"mtu_reverse_lower_bytes 1500"}},
		} {
			path.Set(tt.change)
			if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
				t.Fatal(err)
			}
			s.Expose(e, time.Now())
			got := slices.DeleteFunc(exposed(&s), func(line string) bool {
				return !strings.HasPrefix(line, "mtu_direction") && !strings.HasPrefix(line, "mtu_forward") && !strings.HasPrefix(line, "mtu_reverse")
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	})
}

func TestFamiliesAreWellNamed(t *testing.T) {
	for _, f := range Families() {
		if !strings.HasPrefix(f.Name, "ipsec_path_") || !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: %q", f.Name, f.Help)
		}
		if (f.Kind == collectors.Counter) != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%s is named as another type", f.Name)
		}
	}
}

func TestCosts(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	costs, err := NewCosts(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := Result{Packets: 3, Duration: 40 * time.Millisecond}
	r.Rejected[search.NoSize] = 2
	costs.Add(r)
	want := `
# HELP ipsec_path_ptb_rejected_total ICMP "packet too big" messages that were forged or of no use.
# TYPE ipsec_path_ptb_rejected_total counter
ipsec_path_ptb_rejected_total{reason="below_minimum"} 0
ipsec_path_ptb_rejected_total{reason="no_progress"} 0
ipsec_path_ptb_rejected_total{reason="no_size"} 2
ipsec_path_ptb_rejected_total{reason="not_smaller"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "ipsec_path_ptb_rejected_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			sums[f.GetName()] = h.GetSampleSum()
		}
	}
	if diff := cmp.Diff(map[string]float64{"ipsec_path_mtu_search_packets": 3, "ipsec_path_mtu_search_duration_seconds": 0.04}, sums); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	if _, err := NewCosts(registry, nil); err == nil {
		t.Error("registered twice")
	}
}
