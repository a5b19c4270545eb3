package diagnosis

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
)

const (
	echo    = collectors.ICMP
	udp500  = collectors.IKE
	udp4500 = collectors.NATT
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a time some seconds after start.
func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// ago is a time some seconds before start.
func ago(seconds int) time.Time { return at(-seconds) }

// A reaction is how a peer reacts to the requests of one method.
type reaction uint8

const (
	unasked reaction = iota
	answers
	silent
	refused // by a port; echo requests have no such state
	hardly  // silent, and asked too rarely to say so
	undated // answers, at an unknown time
)

// reaching makes the facts of a peer with these reactions, by method, and the results of path MTU
// searches. The peer speaks IKEv1, so nothing is known of IKE_SA_INIT.
func reaching(by [methods]reaction, searches ...pmtu.Result) Facts {
	f := Facts{Findings: suite.Findings{ICMP: new(echoed(by[echo])), IKE: &ike.Results{
		IKE: asked(by[udp500], 500), NATT: asked(by[udp4500], 4500),
	}}}
	if len(searches) > 0 {
		f.PMTU = searched([methods]pmtu.Result(searches))
	}
	return f
}

func echoed(r reaction) icmp.Result {
	switch r {
	case answers:
		return icmp.Result{State: icmp.Reachable, At: start, Sent: 3, Received: 3}
	case undated:
		return icmp.Result{State: icmp.Reachable, Sent: 3, Received: 3}
	case silent:
		return icmp.Result{State: icmp.Silent, At: at(10), Since: start, Sent: 100, Received: 97, Unanswered: 3}
	case hardly:
		return icmp.Result{State: icmp.Silent, At: at(10), Since: start, Sent: 2, Unanswered: 2}
	case unasked, refused:
	}
	return icmp.Result{}
}

func asked(r reaction, port uint16) ike.Result {
	out := ike.Result{Port: port, At: start}
	switch r {
	case answers:
		out.State, out.Sent, out.Form = ike.Responding, 1, ikeprobe.V1Main
	case undated:
		out.State, out.Sent, out.Form, out.At = ike.Responding, 1, ikeprobe.V1Main, time.Time{}
	case silent:
		out.State, out.Sent = ike.Silent, 3
	case hardly:
		out.State, out.Sent = ike.Silent, 2
	case refused:
		out.State, out.Sent = ike.Refused, 1
	case unasked:
	}
	return out
}

// searched makes a snapshot of searches by method, without unknown ones.
func searched(by [methods]pmtu.Result) *pmtu.Snapshot {
	s := &pmtu.Snapshot{}
	for m, r := range by {
		if r.Method = collectors.Method(m); r.State != search.Unknown {
			s.Results = append(s.Results, r)
		}
	}
	return s
}

// sized is a search that found a size.
func sized(s search.State, bytes int) pmtu.Result {
	return pmtu.Result{State: s, At: start, Bytes: bytes, LinkBytes: 1500, Packets: 48}
}

func ended(s search.State) pmtu.Result { return sized(s, 1400) }

// outward is what routers show of the path to the peer.
func outward(s search.State, bytes int) pmtu.Forward {
	f := pmtu.Forward{State: s, At: start, LowerBytes: bytes, LastHopPassed: netip.MustParseAddr("10.77.2.2"), Packets: 12}
	if s == search.BlackHole {
		f.UpperBytes = bytes
	}
	return f
}

// lostAt is a black hole between two routers.
func lostAt(r pmtu.Result) pmtu.Result {
	r.LastHopPassed, r.FirstHopFailed = netip.MustParseAddr("10.77.2.2"), netip.MustParseAddr("10.77.3.2")
	return r
}

// back is a test of the reverse path.
func back(s search.State) pmtu.Reverse {
	return pmtu.Reverse{State: s, At: start, LowerBytes: 1400, UpperBytes: 1400, Packets: 12}
}

// fragmented are the results of fragment tests by IKE and NAT-T.
func fragmented(ike, natt fragments.Result) *fragments.Results {
	ike.Method, natt.Method = udp500, udp4500
	return &fragments.Results{Results: []fragments.Result{ike, natt}}
}

// hop is the address of a router.
func hop(ttl int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(ttl)}) }

// climbed are the results of ladders to a peer at hop 5.
func climbed(results ...protocols.Result) *protocols.Results {
	return &protocols.Results{At: start, Results: results, Hops: []netip.Addr{hop(1), hop(2), hop(3), hop(4), hop(5)}, Distance: 5}
}

// overtaken is a protocol that hop 3 does not answer, but does another one.
func overtaken(p protocols.Protocol) protocols.Result {
	return protocols.Result{
		Protocol: p, State: protocols.Blocked, LastHop: 2, Last: hop(2), FirstMissed: hop(3), Tries: 3, Witness: protocols.UDP500, WitnessHop: 5,
	}
}

// reading makes an observation:
//
//	U up       R up, being renewed       . no SA             I IKE without child
//	c connecting   x in XAUTH            K kernel, no IKE    ? a word that no rule knows
func reading(kind rune, at time.Time) gateways.Observation {
	o := gateways.Observation{At: at, Up: gateways.No}
	switch kind {
	case 'U', 'R':
		o.Up, o.IKEUp, o.ChildUp, o.IKESAs, o.ChildSAs = gateways.Yes, true, true, 1, 1
		if kind == 'R' {
			o.IKESAs, o.ChildSAs = 2, 2
		}
	case 'I':
		o.IKESAs, o.IKEUp = 1, true
	case 'c':
		o.IKESAs, o.State, o.VendorState = 1, gateways.Connecting, "MM_WAIT_MSG2"
	case 'x':
		o.IKESAs, o.State, o.VendorState = 1, gateways.XAuth, "AM_TM_INIT_XAUTH_V6C"
	case 'K':
		o.Up, o.NoIKE, o.ChildUp, o.ChildSAs = gateways.Unknown, true, true, 1
	case '?':
		o.Up, o.IKESAs, o.ChildSAs = gateways.Unknown, 1, 1
	}
	return o
}

// watched is a gateway at which the peer is expected, with readings that are step apart, the last
// one at a time.
func watched(readings string, step time.Duration, last time.Time, change ...func(*Gateway, *gateways.Observation)) Gateway {
	g := Gateway{Name: "hub"}
	g.Expected = true
	for i, kind := range readings {
		o := reading(kind, last.Add(time.Duration(i+1-len(readings))*step))
		for _, f := range change {
			f(&g, &o)
		}
		g.Add(&o)
	}
	return g
}

// hub is a gateway that is read every 30 s, the last time at start.
func hub(readings string) Gateway { return watched(readings, 30*time.Second, start) }

// counting makes the readings count these packets, all of them by the reading at start.
func counting(in, out uint64) func(*Gateway, *gateways.Observation) {
	return func(_ *Gateway, o *gateways.Observation) {
		o.In, o.Out = gateways.Counted(100), gateways.Counted(100)
		if o.At.Equal(start) {
			o.In, o.Out = gateways.Counted(100+in), gateways.Counted(100+out)
		}
	}
}

// measured dates facts: all that is known of the path was measured at that time.
func measured(f Facts, seconds int) Facts {
	if f.ICMP != nil {
		r := *f.ICMP
		r.At, r.Since = at(seconds), at(seconds)
		f.ICMP = &r
	}
	if f.IKE != nil {
		r := *f.IKE
		r.IKE.At, r.NATT.At = at(seconds), at(seconds)
		f.IKE = &r
	}
	if f.PMTU != nil {
		s := *f.PMTU
		s.Results = slices.Clone(s.Results)
		for i := range s.Results {
			s.Results[i].At = at(seconds)
		}
		f.PMTU = &s
	}
	return f
}

// states are the verdicts by name, or by name and part, without undecided ones.
func states(vs Verdicts) map[string]State {
	out := map[string]State{}
	for _, v := range vs {
		if v.State != Undecided {
			name := v.Name
			if v.Part != "" {
				name += "/" + v.Part
			}
			out[name] = v.State
		}
	}
	return out
}

// held are the names of the diagnoses that hold, each once.
func held(vs Verdicts) []string {
	var out []string
	for _, v := range vs {
		if v.State == Holds {
			out = append(out, v.Name)
		}
	}
	return slices.Compact(out)
}

// verdictOn returns the verdict on a diagnosis of the path, or on a part of it.
func verdictOn(t *testing.T, f Facts, name, part string) Verdict {
	t.Helper()
	for _, v := range Evaluate(f) {
		if v.Name == name && v.Part == part {
			return v
		}
	}
	t.Fatalf("no verdict on %s %s", name, part)
	return Verdict{}
}

// Only answers are remembered, each with its own time.
func TestMemory(t *testing.T) {
	offer := func(form ikeprobe.Form, seconds int) ike.Result {
		return ike.Result{State: ike.Responding, Form: form, At: at(seconds)}
	}
	var m Memory
	for _, f := range []suite.Findings{
		{},
		{ICMP: &icmp.Result{State: icmp.Reachable, At: at(1)}},
		{ICMP: &icmp.Result{State: icmp.Silent, At: at(2), Since: at(2)}, IKE: &ike.Results{IKE: offer(ikeprobe.V2BadKE, 3), NATT: offer(ikeprobe.V2NoProp, 4)}},
		{IKE: &ike.Results{IKE: offer(ikeprobe.V2Major3, 5), NATT: offer(ikeprobe.V1Main, 6)}},
		{IKE: &ike.Results{IKE: ike.Result{State: ike.Silent, At: at(7)}, NATT: ike.Result{State: ike.Refused, At: at(7)}}},
	} {
		m.Note(&f)
	}
	want := Memory{lastAnswer: [methods]time.Time{at(1), at(5), at(6)}, lastOffer: [methods]time.Time{{}, at(3), at(4)}}
	if m != want {
		t.Errorf("remembered %v, want %v", m, want)
	}
}
