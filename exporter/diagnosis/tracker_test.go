package diagnosis

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
)

var (
	fine      = reaching([methods]reaction{answers, answers, answers})
	no500     = reaching([methods]reaction{answers, silent, answers})
	mute      = reaching([methods]reaction{silent, silent, silent})
	noNews    = Facts{}
	echoOnly  = reaching([methods]reaction{echo: answers})
	echoQuiet = reaching([methods]reaction{echo: silent})
)

// A step is one evaluation and what must come of it.
type step struct {
	at      int
	facts   Facts
	changed string // "+name@at -name@at"
	second  bool
	health  string // healthy, ill or unknown
}

func play(t *testing.T, tr *Tracker, steps []step) {
	t.Helper()
	for i, s := range steps {
		changes, second := tr.Update(at(s.at), Evaluate(s.facts))
		var got []string
		for _, c := range changes {
			sign := "-"
			if c.On {
				sign = "+"
			}
			got = append(got, sign+c.Name+"@"+c.At.Sub(start).String())
			if c.Summary == "" || len(c.Evidence) == 0 {
				t.Errorf("step %d: change of %s without text", i, c.Name)
			}
		}
		if joined := strings.Join(got, " "); joined != s.changed {
			t.Errorf("step %d: changed %q, want %q", i, joined, s.changed)
		}
		if second != s.second {
			t.Errorf("step %d: second opinion wanted: %v, want %v", i, second, s.second)
		}
		health := "unknown"
		switch healthy, known := tr.Healthy(); {
		case known && healthy:
			health = "healthy"
		case known:
			health = "ill"
		case healthy:
			t.Errorf("step %d: healthy, but not known", i)
		}
		if health != s.health {
			t.Errorf("step %d: health %s, want %s", i, health, s.health)
		}
	}
}

func TestTracker(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"on after two, off after two", []step{
			{10, measured(fine, 9), "", false, "healthy"},
			{20, measured(no500, 19), "", true, "healthy"},
			{22, measured(no500, 21), "+udp500_blocked@20s", false, "ill"},
			{30, measured(no500, 29), "", false, "ill"},
			{40, measured(fine, 39), "", true, "ill"},
			{42, measured(fine, 41), "-udp500_blocked@40s", false, "healthy"},
		}},
		{"a fault from the beginning", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{12, measured(no500, 11), "+udp500_blocked@10s", false, "ill"},
		}},
		{"flapping never turns on", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{12, measured(fine, 11), "", false, "healthy"},
			{20, measured(no500, 19), "", true, "healthy"},
			{22, measured(fine, 21), "", false, "healthy"},
			{30, measured(mute, 29), "", true, "unknown"},
			{32, measured(fine, 31), "", false, "healthy"},
		}},
		{"flapping never turns off", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{12, measured(no500, 11), "+udp500_blocked@10s", false, "ill"},
			{20, measured(fine, 19), "", true, "ill"},
			{22, measured(no500, 21), "", false, "ill"},
			{30, measured(fine, 29), "", true, "ill"},
			{32, measured(no500, 31), "", false, "ill"},
		}},
		{"the same measurement does not confirm itself", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{11, measured(no500, 9), "", false, "unknown"},
			{15, measured(no500, 10), "", false, "unknown"},
			{20, measured(no500, 11), "+udp500_blocked@10s", false, "ill"},
		}},
		{"what is unknown changes nothing", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{12, noNews, "", false, "unknown"},
			{20, measured(no500, 19), "+udp500_blocked@10s", false, "ill"},
			{30, noNews, "", false, "ill"},
			{40, noNews, "", false, "ill"},
			{50, measured(fine, 49), "", true, "ill"},
			{60, noNews, "", false, "ill"},
			{70, measured(fine, 69), "-udp500_blocked@50s", false, "healthy"},
			{80, noNews, "", false, "unknown"},
		}},
		{"a silent peer has no other fault", []step{
			{10, measured(no500, 9), "", true, "unknown"},
			{12, measured(no500, 11), "+udp500_blocked@10s", false, "ill"},
			{20, measured(mute, 19), "", true, "ill"},
			{22, measured(mute, 21), "+peer_silent@20s -udp500_blocked@20s", false, "ill"},
			{30, measured(fine, 29), "", true, "ill"},
			{32, measured(fine, 31), "-peer_silent@30s", false, "healthy"},
		}},
		{"where echo alone is watched, its silence is no fault, and no health", []step{
			{10, measured(echoOnly, 9), "", false, "healthy"},
			{20, measured(echoQuiet, 19), "", false, "unknown"},
			{30, measured(echoQuiet, 29), "", false, "unknown"},
		}},
		{"nothing measured", []step{{10, noNews, "", false, "unknown"}}},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, &Tracker{}, tt.steps) })
	}
}

func hole(icmp, ike, natt search.State) Facts {
	return reaching([methods]reaction{answers, answers, answers}, ended(icmp), ended(ike), ended(natt))
}

// A clean round of one method does not clear another's black hole, and neither does a search that
// came to nothing.
func TestBlackHoleStandsByMethod(t *testing.T) {
	play(t, &Tracker{}, []step{
		{10, measured(hole(search.Clean, search.BlackHole, search.Unreachable), 9), "", true, "unknown"},
		{12, measured(hole(search.Clean, search.BlackHole, search.Unreachable), 11), "+pmtu_black_hole@10s", false, "ill"},
		{20, measured(hole(search.Clean, search.Unreachable, search.Clean), 19), "", false, "ill"},
		{30, measured(hole(search.Clean, search.Inconclusive, search.BlackHole), 29), "", true, "ill"},
		{32, measured(hole(search.Clean, search.Unknown, search.BlackHole), 31), "", false, "ill"},
		{40, measured(hole(search.Clean, search.Clean, search.BlackHole), 39), "", true, "ill"},
		{42, measured(hole(search.Clean, search.Reduced, search.BlackHole), 41), "", false, "ill"}, // natt's holds
		{50, measured(hole(search.Clean, search.Clean, search.Reduced), 49), "", true, "ill"},
		{52, measured(hole(search.Clean, search.Clean, search.Clean), 51), "-pmtu_black_hole@50s", false, "healthy"},
	})
}

func TestHeldJoinsParts(t *testing.T) {
	tr := &Tracker{}
	tr.Update(at(10), Evaluate(measured(hole(search.Clean, search.Clean, search.BlackHole), 9)))
	tr.Update(at(12), Evaluate(measured(hole(search.Clean, search.Clean, search.BlackHole), 11)))
	tr.Update(at(20), Evaluate(measured(hole(search.Clean, search.BlackHole, search.BlackHole), 19)))
	tr.Update(at(22), Evaluate(measured(hole(search.Clean, search.BlackHole, search.BlackHole), 21)))
	newest := measured(hole(search.Clean, search.BlackHole, search.BlackHole), 29)
	newest.search(udp500).Bytes = 1380
	tr.Update(at(30), Evaluate(newest))
	want := []Held{{
		Diagnosis: Diagnosis{
			Name:     PMTUBlackHole,
			Severity: Critical,
			Summary:  "Packets above 1380 bytes vanish on the path to the peer, and no usable packet too big comes back.",
			Evidence: []string{
				`ike: 1380 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 0`,
				`natt: 1400 bytes pass, larger ones vanish (local link 1500 bytes); 48 packets sent, "packet too big" received: 0`,
			},
		},
		Since:     at(10),
		Confirmed: at(29),
	}}
	if diff := cmp.Diff(want, tr.Held()); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

// scope is a Scope that takes Exposers, each of which has its own series. Like the store's, it has
// a lock that is held while a page is made.
type scope struct {
	mu       sync.Mutex
	next     *collectorstest.Scope
	exposers map[collectors.Exposer]*collectorstest.Scope
}

func newScope() *scope {
	return &scope{next: &collectorstest.Scope{}, exposers: make(map[collectors.Exposer]*collectorstest.Scope)}
}

func (s *scope) Series(f *collectors.Family, values ...string) collectors.Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next.Series(f, values...)
}

func (s *scope) Attach(e collectors.Exposer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exposers[e], s.next = s.next, &collectorstest.Scope{}
}

// expose makes a page and returns the series that are set.
func (s *scope) expose() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]float64{}
	for e, own := range s.exposers {
		own.Expose(e, at(0))
		maps.Copy(out, own.Values())
	}
	return out
}

// made returns the number of all series.
func (s *scope) made() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range s.exposers {
		n += len(own.Families)
	}
	return n
}

func TestMetrics(t *testing.T) {
	tr, s := &Tracker{}, newScope()
	m := NewMetrics(s, tr)
	s.Attach(m)
	on := func(turned float64) map[string]float64 {
		return map[string]float64{
			"peer_healthy": 0, "diagnosis udp500_blocked critical": 1, "diagnosis_changes_total udp500_blocked": turned,
			"diagnosis_since_timestamp_seconds udp500_blocked": float64(at(20).Unix()),
		}
	}
	for i, st := range []struct {
		facts Facts
		want  map[string]float64
	}{
		{noNews, nil},
		{fine, map[string]float64{"peer_healthy": 1}},
		{no500, map[string]float64{"peer_healthy": 1}},
		{no500, on(1)},
		{fine, on(1)},
		{fine, map[string]float64{"peer_healthy": 1, "diagnosis_changes_total udp500_blocked": 2}},
		{noNews, map[string]float64{"diagnosis_changes_total udp500_blocked": 2}},
	} {
		changed, _ := tr.Update(at(10*i), Evaluate(measured(st.facts, 10*i)))
		m.Turned(changed)
		if diff := cmp.Diff(st.want, s.expose(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("step %d: series (-want +got):\n%s", i, diff)
		}
	}
	if got, want := s.made(), 1+3; got != want {
		t.Errorf("%d series are made, want %d: a diagnosis that never held needs none", got, want)
	}
}

// The diagnoses of a gateway carry its name, diagnoses of the path have no such label.
func TestMetricsOfGateways(t *testing.T) {
	tr, s := &Tracker{}, newScope()
	m := NewMetrics(s, tr)
	s.Attach(m)
	facts := func(seconds int) Facts {
		f := measured(fine, seconds)
		for _, name := range []string{"hub", "spare"} {
			readings := map[string]string{"hub": ".....", "spare": "c"}[name]
			g := watched(readings, 30*time.Second, at(seconds))
			g.Name = name
			f.Gateways = append(f.Gateways, g)
		}
		return f
	}
	for _, seconds := range []int{10, 20} {
		changed, _ := tr.Update(at(seconds), Evaluate(facts(seconds)))
		m.Turned(changed)
	}
	want := map[string]float64{
		"peer_healthy": 0, "diagnosis no_sa critical hub": 1, "diagnosis_changes_total no_sa hub": 1,
		"diagnosis_since_timestamp_seconds no_sa hub": float64(at(10).Unix()),
	}
	if diff := cmp.Diff(want, s.expose()); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	// The gateway is no longer configured.
	changed, _ := tr.Update(at(30), Evaluate(measured(fine, 30)))
	if len(changed) != 1 || changed[0].On || changed[0].Gateway != "hub" || !changed[0].At.Equal(at(30)) {
		t.Errorf("changes %+v, want the end of what held of the gateway", changed)
	}
	if diff := cmp.Diff(map[string]float64{"peer_healthy": 1, "diagnosis_changes_total no_sa hub": 2}, s.expose()); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

// Verdicts come from the measurements, pages and scrapes ask at the same time: for the race
// detector.
func TestTrackerAtOnce(t *testing.T) {
	tr, s := &Tracker{}, newScope()
	m := NewMetrics(s, tr)
	s.Attach(m)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			f := fine
			if i/3%2 == 0 {
				f = no500
			}
			changed, _ := tr.Update(at(i), Evaluate(measured(f, i)))
			m.Turned(changed)
		}
	})
	wg.Go(func() {
		for range 300 {
			s.expose()
		}
	})
	for range 300 {
		for _, h := range tr.Held() {
			if h.Name != UDP500Blocked || h.Since.IsZero() {
				t.Errorf("held %+v", h)
			}
		}
	}
	wg.Wait()
}

// TestHealthyPeerKeepsNoConditions: thousands of peers have nothing but diagnoses that do not hold.
func TestHealthyPeerKeepsNoConditions(t *testing.T) {
	if len(numbers) > 64 {
		t.Fatalf("%d parts do not fit in one word", len(numbers))
	}
	var tracker Tracker
	for range 2 {
		tracker.Update(time.Now(), Evaluate(fine))
	}
	if n := len(tracker.conditions); n != 0 {
		t.Errorf("%d conditions of a healthy peer", n)
	}
	if healthy, known := tracker.Healthy(); !healthy || !known {
		t.Errorf("healthy %t, known %t", healthy, known)
	}
}

// TestUnconfirmed: a diagnosis that holds although nothing is known any more says so.
func TestUnconfirmed(t *testing.T) {
	var tr Tracker
	for i, facts := range []Facts{measured(mute, 0), measured(mute, 10), noNews, measured(mute, 30)} {
		tr.Update(at(10*i+1), Evaluate(facts))
		held := tr.Held()
		if want := i == 2; i > 0 && (len(held) != 1 || held[0].Unconfirmed != want) {
			t.Errorf("step %d: %+v", i, held)
		}
	}
}
