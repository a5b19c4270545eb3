package suite_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netsim"
)

// silent is a peer that answers no IKE.
func silent(uint16, []byte) []byte { return nil }

// onPath makes the collectors of a peer behind a simulated path.
func onPath(t *testing.T, path *netsim.Path) *suite.Collectors {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	accounts := &suite.Accounts{}
	return suite.New(t.Context(), collectorstest.Target(false), &suite.Deps{
		Network: path, Echoes: icmp.NewShared(path, &accounts[suite.ICMP]), Router: path, Keys: keys, Accounts: accounts,
		Enabled: suite.DefaultSet(), Every: suite.DefaultIntervals(), Raise: 10 * time.Minute, Methods: collectors.Methods(),
	})
}

// measure makes a round of each of these collectors.
func measure(t *testing.T, c *suite.Collectors, f *suite.Findings, all ...suite.Collector) {
	t.Helper()
	for _, of := range all {
		keep, err := c.Measure(t.Context(), of, collectorstest.Target(false))
		if err != nil {
			t.Fatalf("%s: %v", of, err)
		}
		keep(f)
	}
}

// TestWhatAnIKEAnswerMakesPossible: a peer that starts to answer IKE has what needs an answer
// measured at once, and only then are those rounds conclusive.
func TestWhatAnIKEAnswerMakesPossible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Respond: silent}, 1)
		c, f := onPath(t, path), &suite.Findings{}
		conclusive := func() (s suite.Set) {
			for of := range suite.DefaultSet().All() {
				if c.Conclusive(of, time.Now()) {
					s = s.With(of)
				}
			}
			return s
		}
		blocking := suite.NewSet(suite.PMTU, suite.Fragments)
		measure(t, c, f, suite.PMTU, suite.Fragments)
		if got := conclusive(); got.Has(suite.Fragments) {
			t.Errorf("fragments that were not sent are conclusive while IKE is unknown: %b", got)
		}
		measure(t, c, f, suite.IKE)
		if got := c.Waiting(time.Now()); got != 0 {
			t.Errorf("%b wait at a peer that is silent", got)
		}
		if got := conclusive(); got != suite.DefaultSet() {
			t.Errorf("only %b are conclusive at a peer that is silent", got)
		}
		path.Set(func(c *netsim.Config) { c.Respond = nil })
		time.Sleep(suite.DefaultIntervals()[suite.IKE])
		measure(t, c, f, suite.IKE)
		if got := c.Waiting(time.Now()); got != blocking {
			t.Errorf("%b wait at a peer that answers IKE since, want %b", got, blocking)
		}
		if got := conclusive(); got.Has(suite.Fragments) {
			t.Errorf("fragments that were not sent are conclusive: %b", got)
		}
		measure(t, c, f, suite.PMTU, suite.Fragments)
		if got := c.Waiting(time.Now()); got != 0 {
			t.Errorf("%b wait after they were measured", got)
		}
		if got := conclusive(); got != suite.DefaultSet() {
			t.Errorf("only %b are conclusive", got)
		}
		for _, r := range f.PMTU.Results {
			if r.State != search.Clean || r.Bytes != netsim.DefaultMTU {
				t.Errorf("path MTU by %s: %s, %d bytes", r.Method, r.State, r.Bytes)
			}
		}
		if r := f.Fragments.Of(collectors.IKE); r.State != fragments.Pass {
			t.Errorf("fragments: %s", r.State)
		}
	})
}

// TestUnknownPathMTUIsNotConclusive: it could still be a black hole.
func TestUnknownPathMTUIsNotConclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := onPath(t, netsim.New(netsim.Config{}, 1))
		if c.Conclusive(suite.PMTU, time.Now()) {
			t.Error("the path MTU is conclusive before the first round")
		}
		measure(t, c, &suite.Findings{}, suite.PMTU)
		if !c.Conclusive(suite.PMTU, time.Now()) {
			t.Error("a clean path MTU is not conclusive")
		}
	})
}

// TestFailedRoundKeepsTheResult: what an earlier round found out stays.
func TestFailedRoundKeepsTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{}, 1)
		c, f := onPath(t, path), &suite.Findings{}
		measure(t, c, f, suite.IKE)
		time.Sleep(suite.DefaultIntervals()[suite.IKE])
		path.Set(func(c *netsim.Config) { c.Respond = silent })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		keep, err := c.Measure(ctx, suite.IKE, collectorstest.Target(false))
		if err == nil {
			t.Fatal("a round without time for an answer succeeded")
		}
		keep(f)
		if f.IKE == nil || f.IKE.IKE.State != ike.Responding {
			t.Errorf("IKE after a failed round: %+v", f.IKE)
		}
	})
}

// found are results of all collectors, measured at these times before now.
func found(now time.Time, ago map[suite.Collector]time.Duration) *suite.Findings {
	at := func(c suite.Collector) time.Time { return now.Add(-ago[c]) }
	return &suite.Findings{
		ICMP: &icmp.Result{At: at(suite.ICMP)},
		IKE:  &ike.Results{IKE: ike.Result{At: at(suite.IKE)}, NATT: ike.Result{At: at(suite.IKE).Add(time.Second)}},
		PMTU: &pmtu.Snapshot{
			At:      at(suite.PMTU),
			Results: []pmtu.Result{{Method: collectors.ICMP, At: at(suite.PMTU)}, {Method: collectors.IKE, At: now}},
			Reverse: pmtu.Reverse{At: at(suite.PMTU), State: search.Clean},
		},
		Fragments: &fragments.Results{
			At:      at(suite.Fragments),
			Results: []fragments.Result{{Method: collectors.IKE, At: at(suite.Fragments)}, {Method: collectors.NATT, At: now}},
		},
		Protocols: &protocols.Results{At: at(suite.Protocols)},
		Flows:     &flows.Results{At: at(suite.Flows)},
		Inside:    &inside.Results{At: at(suite.Inside), Results: []inside.Result{{At: at(suite.Inside)}, {At: now}}},
		Partner:   &partner.Result{At: at(suite.Partner)},
	}
}

// TestFresh: results older than three intervals are absent, each for itself.
func TestFresh(t *testing.T) {
	now, every := time.Unix(1_800_000_000, 0), suite.DefaultIntervals()
	for name, tt := range map[string]struct {
		late            time.Duration // beyond three intervals
		every           suite.Intervals
		reason          string
		mtus, pieces    int
		back, protocols bool
	}{
		"just fresh":             {0, every, "", 2, 2, true, true},
		"just stale":             {time.Second, every, "", 1, 1, false, false},
		"without an interval":    {time.Hour, suite.Intervals{}, "", 2, 2, true, true},
		"a round without result": {0, every, "no answer", 2, 2, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			ago := make(map[suite.Collector]time.Duration)
			for _, c := range suite.All() {
				ago[c] = 3*every[c] + tt.late
			}
			all := found(now, ago)
			all.Protocols.Reason, all.Flows.Reason = tt.reason, tt.reason
			f := all.Fresh(now, tt.every)
			if n := len(f.PMTU.Results); n != tt.mtus {
				t.Errorf("%d results of path MTU, want %d", n, tt.mtus)
			}
			if n := len(f.Inside.Results); n != tt.pieces {
				t.Errorf("%d results inside the tunnel, want %d", n, tt.pieces)
			}
			if n := len(f.Fragments.Results); n != tt.pieces {
				t.Errorf("%d results of fragments, want %d", n, tt.pieces)
			}
			if (f.PMTU.Reverse.State == search.Clean) != tt.back || (f.Protocols != nil) != tt.protocols {
				t.Errorf("reverse path %v, protocols %v", f.PMTU.Reverse, f.Protocols)
			}
			if age := tt.late; (f.Partner != nil) != (age <= 0 || tt.every[suite.Partner] == 0) {
				t.Errorf("partner %v", f.Partner)
			}
			// A comparison of flows that is too old leaves an empty one: it is known that there can
			// be one.
			if f.Flows == nil || f.Flows.At.IsZero() == tt.protocols {
				t.Errorf("flows %+v", f.Flows)
			}
			if len(all.PMTU.Results) != 2 || len(all.Fragments.Results) != 2 || all.PMTU.Reverse.State != search.Clean || all.Protocols == nil || all.Flows.At.IsZero() {
				t.Error("the findings themselves were changed")
			}
		})
	}
	none := (&suite.Findings{}).Fresh(now, every)
	if diff := cmp.Diff(suite.Findings{}, none); diff != "" {
		t.Errorf("no findings (-want +got):\n%s", diff)
	}
}

// TestFreshHops: the routers of a path are looked up each hour, and absent after three.
func TestFreshHops(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for ago, want := range map[time.Duration]int{3 * time.Hour: 1, 3*time.Hour + time.Second: 0} {
		f := suite.Findings{PMTU: &pmtu.Snapshot{Hops: make([]netip.Addr, 1), Distance: 1, HopsAt: now.Add(-ago)}}
		got := f.Fresh(now, suite.DefaultIntervals())
		if len(got.PMTU.Hops) != want || got.PMTU.Distance != want || len(f.PMTU.Hops) != 1 {
			t.Errorf("after %v: %+v", ago, got.PMTU)
		}
	}
}

// TestSince: the oldest of all results counts.
func TestSince(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	if got := (&suite.Findings{}).Since(now); !got.Equal(now) {
		t.Errorf("without findings since %v", got)
	}
	for _, oldest := range suite.All() {
		ago := make(map[suite.Collector]time.Duration)
		for _, c := range suite.All() {
			ago[c] = time.Minute
		}
		ago[oldest] = time.Hour
		if got, want := found(now, ago).Since(now), now.Add(-time.Hour); !got.Equal(want) {
			t.Errorf("%s is the oldest: since %v, want %v", oldest, got, want)
		}
	}
	f := found(now, nil)
	f.ICMP.At = time.Time{} // not measured yet
	if got := f.Since(now); !got.Equal(now) {
		t.Errorf("a result that is not there counts: since %v", got)
	}
}
