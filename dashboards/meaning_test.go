package dashboards

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A track is a series with its values at consecutive scrapes; a value below zero is none.
type track struct {
	metric, labels string
	values         []float64
}

// serveTracks starts a Prometheus that has the series of one peer, and returns the time of the last values.
func serveTracks(t *testing.T, tracks ...track) (s server, ends int64) {
	t.Helper()
	ends = lastMinute()
	var text strings.Builder
	for _, one := range tracks {
		kind := "gauge"
		if strings.HasSuffix(one.metric, "_total") {
			kind = "counter"
		}
		name := "ipsec_path_" + one.metric
		if one.metric == "up" {
			name = one.metric
		}
		fmt.Fprintf(&text, "# TYPE %s %s\n", strings.TrimSuffix(name, "_total"), kind)
		for i, v := range one.values {
			if v >= 0 {
				fmt.Fprintf(&text, "%s{job=\"ipsec\",instance=\"exporter1:10500\",peer=\"branch\"%s} %g %d\n",
					name, one.labels, v, ends-int64(len(one.values)-1-i)*step)
			}
		}
	}
	text.WriteString("# EOF\n")
	return serveText(t, text.String()), ends
}

// panelOf returns a panel of a board.
func panelOf(t *testing.T, uid, title string) panel {
	t.Helper()
	for _, b := range load(t) {
		for _, p := range b.all() {
			if b.UID == uid && p.Title == title {
				return p
			}
		}
	}
	t.Fatalf("%s: there is no panel %s", uid, title)
	return panel{}
}

// steady is a value for as long as the time range of the tests.
func steady(v float64) []float64 { return slices.Repeat([]float64{v}, 70) }

// TestFirstChangeCounts: a counter of what rarely happens appears with its first event.
func TestFirstChangeCounts(t *testing.T) {
	absent := slices.Repeat([]float64{-1}, 66)
	for name, tt := range map[string]struct {
		values []float64
		want   []float64
	}{
		"first":          {append(slices.Clone(absent), 1, 1, 1, 1), []float64{1}},
		"just now":       {append(slices.Clone(absent), -1, -1, -1, 1), []float64{1}},
		"first and more": {append(slices.Clone(absent), 1, 1, 2, 2), []float64{2}},
		"none":           {steady(5), nil},
		"one more":       {append(slices.Repeat([]float64{5}, 40), slices.Repeat([]float64{6}, 30)...), []float64{1}},
	} {
		s, ends := serveTracks(t, track{"peer_info", "", steady(1)}, track{"diagnosis_changes_total", `,diagnosis="pmtu_black_hole"`, tt.values})
		var got []float64
		for _, r := range s.answer(t, panelOf(t, "ipsec-path-fleet", "Most changes of diagnoses").Targets[0], everything("branch"), ends-3600, ends) {
			got = append(got, r.numbers()...)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v changes, not %v", name, got, tt.want)
		}
	}
}

// TestFilteredEchoIsNoLoss: where IKE answers and echo does not, that is no loss.
func TestFilteredEchoIsNoLoss(t *testing.T) {
	p := panelOf(t, "ipsec-path-peer", "Echo loss, 5 min")
	requests := make([]float64, 70)
	for i := range requests {
		requests[i] = float64(10 * i)
	}
	for name, tt := range map[string]struct{ icmp, ike, want float64 }{
		"filtered": {0, 1, -1}, "silent": {0, 0, 1}, "lossy": {1, 1, 1},
	} {
		s, ends := serveTracks(t,
			track{"icmp_requests_total", "", requests}, track{"icmp_replies_total", "", steady(0)},
			track{"icmp_reachable", "", steady(tt.icmp)}, track{"ike_responding", `,method="ike"`, steady(tt.ike)})
		r := s.answer(t, p.Targets[0], everything("branch"), ends-3600, ends)
		if len(r) != 1 || r[0].numbers()[0] != tt.want {
			t.Errorf("%s: %v, not %g", name, r, tt.want)
		}
	}
	if !slices.ContainsFunc(p.FieldConfig.Defaults.Mappings, func(m json.RawMessage) bool { return strings.Contains(string(m), `"filtered"`) }) {
		t.Error("the value has no word")
	}
}

// TestProtocolThatReachesThePeerAnswers: a protocol without a state is not unknown where the peer answers it.
func TestProtocolThatReachesThePeerAnswers(t *testing.T) {
	s, ends := serveTracks(t, track{"hops", "", steady(9)},
		track{"protocol_last_hop", `,protocol="icmp"`, steady(9)}, track{"protocol_last_hop", `,protocol="udp500"`, steady(4)},
		track{"protocol_state", `,protocol="esp",state="blocked"`, steady(1)}, track{"protocol_last_hop", `,protocol="esp"`, steady(4)})
	got := make(map[string]float64)
	for _, r := range s.answer(t, panelOf(t, "ipsec-path-evidence", "How far each protocol gets now").Targets[0], everything("branch"), ends-3600, ends) {
		got[r.Metric["protocol"]] = r.numbers()[0]
	}
	if want := map[string]float64{"icmp": 4, "esp": 3}; !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// TestNoneIsSaidOnlyWhereAllIsKnown: without a fault, tables say "none" only if every exporter is scraped and
// every gateway read.
func TestNoneIsSaidOnlyWhereAllIsKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		exporter, gateway   float64
		wantPeers, wantDown float64
	}{
		"all known":        {1, 1, -1, -1},
		"exporter down":    {0, 1, -2, -2},
		"gateway not read": {1, 0, -1, -2},
		"no gateway":       {1, -1, -1, -2},
	} {
		s, ends := serveTracks(t, track{"up", "", steady(tt.exporter)}, track{"gateway_up", `,gateway="hub"`, steady(tt.gateway)}, track{"peer_healthy", "", steady(1)})
		for title, want := range map[string]float64{"Peers with a fault ($rows)": tt.wantPeers, "Tunnels that are down": tt.wantDown} {
			uid := "ipsec-path-fleet"
			if title == "Tunnels that are down" {
				uid = "ipsec-path-tunnels"
			}
			r := s.answer(t, panelOf(t, uid, title).Targets[0], everything("branch"), ends-3600, ends)
			if len(r) != 1 || r[0].numbers()[0] != want {
				t.Errorf("%s: %s: %v, not %g", name, title, r, want)
			}
		}
	}
}
