package diagnosis

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
)

// behind makes peers behind an interface, some of which lose echoes.
func behind(device string, all, unanswered int) (peers []Standing) {
	for i := range all {
		peers = append(peers, Standing{Peer: string(rune('a' + i)), Interface: device, Intervals: everyMinute(), Measured: true, Echoes: icmp.Reachable, Unanswered: i < unanswered})
	}
	return peers
}

// TestCongestionMeter: the counters are those of successive readings, ten seconds apart; the verdict is
// that after the last one.
func TestCongestionMeter(t *testing.T) {
	type queue = netio.Queue
	for name, tt := range map[string]struct {
		readings []queue
		peers    []Standing
		want     string
	}{
		"one reading":      {[]queue{{Probes: 100, Refused: 100}}, nil, ""},
		"nothing dropped":  {[]queue{{Probes: 100}, {Probes: 200}}, nil, ""},
		"probes refused":   {[]queue{{Probes: 100}, {Probes: 150, Refused: 50}}, nil, "50 of 100 probes"},
		"two refused":      {[]queue{{Probes: 100}, {Probes: 101, Refused: 2}}, nil, ""},
		"a trickle":        {[]queue{{Probes: 100}, {Probes: 1000, Refused: 40}}, nil, ""},
		"refused 20 s ago": {[]queue{{}, {Probes: 1, Refused: 5}, {Probes: 2, Refused: 5}, {Probes: 3, Refused: 5}}, nil, "5 of 8 probes"},
		"refused more than 30 s ago": {
			[]queue{{}, {Probes: 1, Refused: 5}, {Probes: 2, Refused: 5}, {Probes: 3, Refused: 5}, {Probes: 4, Refused: 5}, {Probes: 5, Refused: 5}}, nil, "",
		},
		"packets dropped later":  {[]queue{{Sent: 100}, {Sent: 200, Dropped: 100}}, behind("wan0", 10, 1), "100 of 200 packets"},
		"every echo is answered": {[]queue{{Sent: 100}, {Sent: 200, Dropped: 100}}, behind("wan0", 10, 0), ""},
		"few peers are affected": {[]queue{{Sent: 100}, {Sent: 200, Dropped: 100}}, behind("wan0", 11, 1), ""},
		"others are affected":    {[]queue{{Sent: 100}, {Sent: 200, Dropped: 100}}, behind("lan0", 10, 10), ""},
		"packets of a busy line": {[]queue{{Sent: 100}, {Sent: 10000, Dropped: 300}}, behind("wan0", 10, 10), ""},
		"another discipline":     {[]queue{{Sent: 9000, Dropped: 500}, {Sent: 80, Dropped: 20}}, behind("wan0", 1, 1), "20 of 100 packets"},
	} {
		t.Run(name, func(t *testing.T) {
			var m CongestionMeter
			var got map[string]Congestion
			for i, q := range tt.readings {
				got = m.Update(at(10*i), map[string]netio.Queue{"wan0": q}, tt.peers)
			}
			want := ""
			if tt.want != "" {
				want = "the queue of interface wan0 of this host dropped " + tt.want
			}
			if got := got["wan0"].Evidence; want == "" && got != "" || !strings.HasPrefix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	var m CongestionMeter
	for i, refused := range []uint64{0, 10, 20, 20} {
		got := m.Update(at(10*i), map[string]netio.Queue{"": {Refused: refused}}, nil)[""]
		if i == 3 && (!got.Measured.Equal(at(10)) || got.Evidence != "a queue of this host dropped 20 of 20 probes since 2026-01-02T03:04:05Z") {
			t.Errorf("%+v, want the newest drops after %v", got, at(10))
		}
	}
}

// TestFullQueue: while the queue of an interface drops probes, the peers behind it are suspect and no
// other diagnosis of their path is raised, nor for two intervals after that.
func TestFullQueue(t *testing.T) {
	peers := append(behind("wan0", 1, 1), peerOf("other", ""))
	trackers := []*Tracker{{}, {}}
	v := &Vantage{}
	var got []string
	judge := func(seconds int, f Facts, full bool) {
		for i, tr := range trackers {
			f.Vantage = v.Of(peers[i].Peer)
			for range 2 { // at once, and when the suspicion is known
				tr.Update(at(seconds), Evaluate(measured(f, seconds-1)))
			}
		}
		congested := map[string]Congestion{}
		if full {
			congested["wan0"] = Congestion{Measured: at(seconds), Evidence: "dropped", Share: 0.9}
		}
		v.Update(at(seconds+1), peers, nil, congested)
		var names []string
		for _, tr := range trackers {
			var held []string
			for _, h := range tr.Held() {
				held = append(held, h.Name)
			}
			names = append(names, strings.Join(held, "+"))
		}
		got = append(got, strings.Join(names, "/"))
	}
	for i := range 4 {
		judge(10*i, fine, i > 0)
	}
	for i := 4; i < 8; i++ {
		judge(10*i, mute, true)
	}
	for i := 8; i < 26; i += 2 { // two minutes, and until a silence is confirmed
		judge(10*i, mute, false)
	}
	want := []string{
		"/", "/", "/", "/", "vantage_suspect/", // after two readings with newer drops
		"vantage_suspect/peer_silent", "vantage_suspect/peer_silent", "vantage_suspect/peer_silent",
		"vantage_suspect/peer_silent", "vantage_suspect/peer_silent", "/peer_silent", "/peer_silent", "/peer_silent", "/peer_silent", "/peer_silent",
		"/peer_silent", "peer_silent/peer_silent",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

// TestFullQueueHoldsBack: answers count while the queue is full; what gateways show does, too.
func TestFullQueueHoldsBack(t *testing.T) {
	f := losing([methods]reaction{answers, answers, silent}, of(38, 60), of(5, 10), collectors.Sample{})
	f.Gateways = []Gateway{hub("........")}
	before := held(Evaluate(f))
	f.Vantage = Suspicion{Congested: true, Share: 0.5, State: Holds, Measured: start, Evidence: []string{"dropped"}}
	after := held(Evaluate(f))
	if want := []string{LossHigh, UDP4500Blocked, NoSA}; !slices.Equal(before, want) {
		t.Fatalf("without congestion %q, want %q", before, want)
	}
	if want := []string{NoSA, VantageSuspect}; !slices.Equal(after, want) {
		t.Errorf("with it %q, want %q", after, want)
	}
	if s := states(Evaluate(f)); s[PeerSilent] != Absent {
		t.Errorf("answers do not count: %v", slices.Collect(maps.Keys(s)))
	}
	if v := verdictOn(t, f, VantageSuspect, ""); !strings.HasPrefix(v.Summary, "This host's own uplink is full") {
		t.Errorf("%s", v.Summary)
	}
}

// TestCongestionOfOthers: the queue drops packets of other programs, and one of ten peers answers no
// echo. It filters them for ever, or has just died: neither says that probes are dropped.
func TestCongestionOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		dropped  uint64 // of a hundred
		silentAt int
		until    int // the queue may be taken for full
	}{
		"a peer filters echo":                   {6, 0, 0},
		"a peer filters echo, many are dropped": {40, 0, 0},
		"a peer dies":                           {6, 60, 0},
		"a peer dies, many are dropped":         {40, 60, 60 + 30},
	} {
		peers := behind("wan0", 10, 0)
		var m CongestionMeter
		var v Vantage
		last := -1
		for seconds := 0; seconds <= 300; seconds += 5 {
			if seconds >= tt.silentAt {
				peers[0].Echoes, peers[0].Unanswered = icmp.Silent, true
			}
			n := uint64(seconds)
			full := m.Update(at(seconds), map[string]netio.Queue{"wan0": {Probes: 2 * n, Sent: 20 * (100 - tt.dropped) * n, Dropped: 20 * tt.dropped * n}}, peers)
			if v.Update(at(seconds), peers, nil, full); len(full) > 0 {
				last = seconds
			}
		}
		if last >= tt.until {
			t.Errorf("%s: the queue is full after %d s", name, last)
		}
		for _, p := range []string{"a", "j"} {
			if s := v.Of(p); s.State != Absent || s.Congested {
				t.Errorf("%s: %s is suspect: %+v", name, p, s)
			}
		}
	}
}

// TestCongestionSinceFirstReading: what an interface dropped in its whole life is not what it drops now.
func TestCongestionSinceFirstReading(t *testing.T) {
	peers := behind("lte0", 1, 1)
	wan, old := netio.Queue{Probes: 10, Sent: 1000}, netio.Queue{Probes: 1, Sent: 940000, Dropped: 60000}
	now := old
	now.Sent, now.Dropped = old.Sent+80, old.Dropped+20
	var m CongestionMeter
	var got []int
	for i, queues := range []map[string]netio.Queue{{"wan0": wan}, {"wan0": wan, "lte0": old}, {"wan0": wan, "lte0": old}, {"wan0": wan, "lte0": now}} {
		full := m.Update(at(5*i), queues, peers)
		got = append(got, len(full))
		if i == 3 && (!full["lte0"].Measured.Equal(at(10)) || full["lte0"].Share != 0.2) {
			t.Errorf("%+v, want a fifth since %v", full["lte0"], at(10))
		}
	}
	if want := []int{0, 0, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("full queues %d, want %d", got, want)
	}
}

// TestCongestionShare: the share is the largest one of a short time, not the mean with what was sent
// before, and a Vantage keeps it for two intervals.
func TestCongestionShare(t *testing.T) {
	peers := behind("wan0", 1, 1)
	var m CongestionMeter
	var v Vantage
	q := netio.Queue{}
	var got []float64
	for i, dropped := range []uint64{0, 0, 0, 90, 10, 10, 10, 10, 10, 10, 10} {
		q.Sent, q.Dropped = q.Sent+100-dropped, q.Dropped+dropped
		full := m.Update(at(10*i), map[string]netio.Queue{"wan0": q}, peers)
		v.Update(at(10*i), peers, nil, full)
		got = append(got, v.Of("a").Share)
	}
	if want := []float64{0, 0, 0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9}; !slices.Equal(got, want) {
		t.Errorf("shares %v, want %v", got, want)
	}
	for i := 11; i <= 20; i++ {
		q.Sent, q.Dropped = q.Sent+90, q.Dropped+10
		v.Update(at(10*i), peers, nil, m.Update(at(10*i), map[string]netio.Queue{"wan0": q}, peers))
	}
	if got := v.Of("a").Share; got != 0.1 {
		t.Errorf("share %v two intervals later, want 0.1", got)
	}
}

// TestFullQueueExplains: a full queue holds back a silence that the dropped share explains, and no other.
func TestFullQueueExplains(t *testing.T) {
	for name, tt := range map[string]struct {
		by    [methods]reaction
		share float64
		want  []string
	}{
		"nothing answers, few are dropped":   {[methods]reaction{silent, silent, silent}, 0.06, []string{PeerSilent}},
		"nothing answers, half are dropped":  {[methods]reaction{silent, silent, silent}, 0.5, nil},
		"echo is silent, few are dropped":    {[methods]reaction{silent, answers, answers}, 0.06, []string{ICMPBlocked}},
		"echo is silent, a fifth is dropped": {[methods]reaction{silent, answers, answers}, 0.2, nil},
		"a port is silent, few are dropped":  {[methods]reaction{answers, answers, silent}, 0.06, []string{UDP4500Blocked}},
		"a port is silent, half are dropped": {[methods]reaction{answers, answers, silent}, 0.5, nil},
	} {
		f := reaching(tt.by)
		f.Vantage = Suspicion{Congested: true, Share: tt.share}
		if got := held(Evaluate(f)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestOutbreakWithoutProviders: many peers at once whose providers are not named, and a few that are
// silent on their own.
func TestOutbreakWithoutProviders(t *testing.T) {
	for name, tt := range map[string]struct {
		all, ill int
		isp      string
		apart    int // seconds between the onsets
		want     State
	}{
		"half of three hundred":        {300, 147, "", 0, Holds},
		"a quarter":                    {300, 75, "", 0, Holds},
		"less than a quarter":          {300, 74, "", 0, Absent},
		"three of three hundred":       {300, 3, "", 0, Absent},
		"nine of nine":                 {9, 9, "", 0, Absent},
		"ten of ten":                   {10, 10, "", 0, Holds},
		"one provider":                 {300, 147, "acme", 0, Absent},
		"one after the other in hours": {300, 147, "", 60, Absent},
	} {
		var peers []Standing
		for i := range tt.all {
			p := peerOf("peer"+string(rune('a'+i)), tt.isp)
			if i < tt.ill {
				p.Held = []Held{fault(PeerSilent, 100+i*tt.apart)}
			}
			peers = append(peers, p)
		}
		v := &Vantage{}
		v.Update(at(100+tt.ill*tt.apart), peers, nil, nil)
		if got := v.Of(peers[0].Peer).State; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		if got := v.Of(peers[tt.all-1].Peer).State; tt.ill < tt.all && got != Absent {
			t.Errorf("%s: a healthy peer is %v", name, got)
		}
	}
}
