package report

import (
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	within "ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/netio"
)

// hops are the routers of the stories' path, and the peer.
func hops() []netip.Addr {
	return []netip.Addr{addr("198.51.100.1"), addr("192.0.2.33"), addr("192.0.2.65"), addr("203.0.113.10")}
}

// story is a report of a path whose routers are known, judged with what was known before.
func story(t *testing.T, change func(*Report), before *diagnosis.Facts, names ...string) *Report {
	t.Helper()
	r := well(t)
	r.PMTU.Hops, r.PMTU.Distance, r.PMTU.HopsAt = hops(), 4, measured
	r.Took = 20 * time.Second
	if change != nil {
		change(r)
	}
	r.Healthy = len(names) == 0
	judge(r, before, names...)
	return recommend(t, r)
}

// answered are the facts of a peer that answered everything an hour ago.
func answered(t *testing.T) *diagnosis.Facts {
	t.Helper()
	r := well(t)
	r.ICMP.At, r.IKE.IKE.At, r.IKE.NATT.At = measured.Add(-time.Hour), measured.Add(-time.Hour), measured.Add(-time.Hour)
	var f diagnosis.Facts
	f.Note(&r.Findings)
	return &f
}

// origin is the fault that the program was written for: a provider starts to drop all ICMP at its
// edge, and the EZVPN branch behind a link of 1400 bytes stops to connect.
func origin(r *Report) {
	noICMP(r)
	r.Labels = map[string]string{"isp": "acme"}
	r.GatewayTypes = []string{"cisco_asa"}
	for i := range r.PMTU.Results {
		if s := &r.PMTU.Results[i]; s.State == search.BlackHole {
			s.SpokeFrom, s.SpokeMTU, s.SpokeUntil = hops()[1], 1400, measured.Add(-61*time.Minute)
		}
	}
	at := &r.PMTU.Results[1]
	at.LastHopPassed, at.FirstHopFailed = hops()[1], hops()[2]
}

// bothPortsSilent is a provider that drops UDP 500 and 4500 behind its second router.
func bothPortsSilent(r *Report) {
	r.IKE = &ike.Results{IKE: silentPort(500), NATT: silentPort(4500)}
	r.PMTU.Results[1], r.PMTU.Results[2] = unreachable(collectors.IKE), unreachable(collectors.NATT)
	lost := func(p protocols.Protocol) protocols.Result {
		return protocols.Result{
			Protocol: p, State: protocols.Blocked, Reason: "another protocol gets further on the same path", LastHop: 2, Last: hops()[1],
			FirstMissed: hops()[2], Witness: protocols.ICMP, WitnessHop: 4, Tries: 5,
		}
	}
	r.Protocols = &protocols.Results{
		Results: []protocols.Result{
			{Protocol: protocols.ICMP, State: protocols.Passes, LastHop: 4}, lost(protocols.UDP500), lost(protocols.UDP4500),
		},
		Hops: hops(), Distance: 4, At: measured,
	}
}

// ownFirewall is a host whose own input rules drop ICMP.
func ownFirewall(r *Report) {
	r.ICMP = silentEcho()
	r.PMTU.Results[0] = unreachable(collectors.ICMP)
	r.PMTU.Hops, r.PMTU.Distance = nil, 0
	r.Protocols = &protocols.Results{
		Results:   []protocols.Result{{Protocol: protocols.ICMP, Reason: "this host dropped the answers"}},
		Overheard: netio.Overheard{ICMP: netio.Seen{Link: 9}}, At: measured,
	}
}

// longChains is a firewall that passes two fragments and drops longer chains.
func longChains(r *Report) {
	pass := func(m collectors.Method) fragments.Result {
		return fragments.Result{
			Method: m, State: fragments.Pass, Size: 1000, Piece: 576, Sent: 1, Answered: 1, Long: fragments.Dropped, LongSize: 3000, LongPieces: 3,
			LastFirst: fragments.Pass, At: measured,
		}
	}
	r.Fragments = &fragments.Results{Results: []fragments.Result{pass(collectors.IKE), pass(collectors.NATT)}, At: measured}
}

// onePortBySize is a policer that drops large packets of UDP 4500 alone.
func onePortBySize(r *Report) {
	hole(r, collectors.NATT)
	r.PMTU.Results[2].LargerBy = []collectors.Method{collectors.ICMP, collectors.IKE}
}

// compareFlows are flows by both IKE methods.
func compareFlows(r *Report, state flows.State, lost int, own bool) {
	one := func(m collectors.Method) flows.Result {
		return flows.Result{Method: m, State: state, Tested: 4, Lost: lost, Own: own}
	}
	r.Flows = &flows.Results{
		Results: []flows.Result{{Method: collectors.ICMP, State: flows.Even, Tested: 3, Own: true}, one(collectors.IKE), one(collectors.NATT)},
		At:      measured.Add(time.Second),
	}
}

// peerRefuses is a peer whose own filter answers "admin prohibited".
func peerRefuses(r *Report) {
	by := collectors.PathError{Outcome: netio.Unreachable, Type: 3, Code: 13, From: r.Address, Count: 5}
	r.IKE = &ike.Results{IKE: refusedPort(500, &by), NATT: refusedPort(4500, &by)}
	r.ICMP = silentEcho()
	r.ICMP.Error = by
	for i, m := range collectors.Methods() {
		r.PMTU.Results[i] = unreachable(m)
	}
}

// ownLimit is a responder that takes no IKE messages above 1280 octets, while echoes pass.
func ownLimit(r *Report) {
	for i := range r.PMTU.Results[1:] {
		s := &r.PMTU.Results[1+i]
		s.State, s.Bytes, s.Packets = search.Inconclusive, 1308, 44
		s.Reason = "the peer itself may refuse IKE messages of more than 1308 bytes: echoes of 1500 bytes pass"
	}
}

// espInUDP is a provider that drops ESP in UDP 4500 behind its first router.
func espInUDP(r *Report) {
	r.Protocols = &protocols.Results{
		Results: []protocols.Result{
			{Protocol: protocols.ICMP, State: protocols.Passes, LastHop: 4},
			{
				Protocol: protocols.ESPInUDP, State: protocols.Blocked, Reason: "another protocol gets further on the same path", LastHop: 1, Last: hops()[0],
				FirstMissed: hops()[1], Witness: protocols.UDP4500, WitnessHop: 4, Tries: 5,
			},
		},
		Hops: hops(), Distance: 4, At: measured,
	}
}

// mssTooLarge is a tunnel that carries 1364 bytes, and TCP that sends 1500.
func mssTooLarge(r *Report) {
	target := within.Target{Address: addr("10.1.0.1"), Port: 443}
	r.Inside = &within.Results{At: measured, Results: []within.Result{
		{
			Target: target, At: measured, Sent: 5, Answered: 5, RoundTrip: 21 * time.Millisecond, Heard: measured, TCP: within.TCPAnswered, MSS: 1460,
			Size: search.Verdict{State: search.BlackHole, Bytes: 1364, Link: 1500, Packets: 44},
		},
		{
			Target: within.Target{Address: addr("10.1.0.2")}, At: measured, Sent: 5, Answered: 4, RoundTrip: 22 * time.Millisecond, Heard: measured,
			Size: search.Verdict{State: search.Reduced, Bytes: 1364, Link: 1500, Packets: 6, PTBs: 2},
		},
	}}
}

// deadTunnel is a tunnel that carries nothing.
func deadTunnel(r *Report) {
	r.Inside = &within.Results{At: measured, Results: []within.Result{{
		Target: within.Target{Address: addr("10.1.0.1"), Port: 443}, At: measured, Sent: 5, TCP: within.TCPSilent, Heard: measured.Add(-time.Hour),
	}}}
}

// stories are the faults of simulated providers that reports of people were wrong about.
func stories(t *testing.T) map[string]*Report {
	t.Helper()
	none := &diagnosis.Facts{}
	suspect := &diagnosis.Facts{Vantage: diagnosis.Suspicion{
		State: diagnosis.Holds, Measured: measured, Evidence: []string{"pmtu_black_hole appeared at 5 of 6 measured peers, of the providers acme, globex"},
	}}
	losing := &diagnosis.Facts{}
	earlier := well(t)
	lossy(earlier)
	earlier.ICMP.At, earlier.ICMP.Loss.Since = measured.Add(-10*time.Minute), measured.Add(-11*time.Minute)
	losing.Note(&earlier.Findings)
	otherWay := func(r *Report) {
		r.Ways = []Way{{Method: collectors.IKE, By: "wan1 via 192.0.2.1"}, {Method: collectors.NATT, By: "wan1 via 192.0.2.1"}, {Method: collectors.ICMP, By: "wan0", Apart: true}}
	}
	stale := story(t, ikeHoleWithPlace, none, diagnosis.PMTUBlackHole)
	stale.Diagnoses[0].Unconfirmed = true
	stale.PMTU = &pmtu.Snapshot{}
	stale.Tunnel = nil
	return map[string]*Report{
		"origin":                  story(t, origin, answered(t), diagnosis.ICMPBlocked, diagnosis.PMTUBlackHole),
		"both IKE ports filtered": story(t, bothPortsSilent, answered(t), diagnosis.UDP500Blocked, diagnosis.UDP4500Blocked),
		"ESP in UDP filtered":     story(t, espInUDP, none, diagnosis.ESPUDPBlocked),
		"stuck NAT mapping": story(t, func(r *Report) {
			r.Source = addr("192.168.1.5")
			bothPortsSilent(r)
			r.Protocols = nil
			compareFlows(r, flows.Stuck, 0, false)
		}, none, diagnosis.FlowStuck),
		"dead leg": story(t, func(r *Report) { compareFlows(r, flows.Split, 2, true) }, none, diagnosis.FlowsLost),
		"policy routing by port": story(t, func(r *Report) {
			otherWay(r)
			r.PMTU.Results[1].State, r.PMTU.Results[1].Bytes, r.PMTU.Results[1].PTBFrom, r.PMTU.Results[1].PTBMTU = search.Reduced, 1492, hops()[1], 1492
		}, none),
		"limit of the responder": story(t, ownLimit, none),
		"own firewall":           story(t, ownFirewall, none, diagnosis.LocalFilter),
		"long chains":            story(t, longChains, none),
		"one port by size":       story(t, onePortBySize, none, diagnosis.PMTUBlackHole),
		"peer refuses":           story(t, peerRefuses, none, diagnosis.PeerRefuses),
		"MSS too large":          story(t, mssTooLarge, none, diagnosis.InsideBlackHole, diagnosis.MSSTooLarge),
		"dead tunnel":            story(t, deadTunnel, none, diagnosis.TunnelDead),
		"much loss":              story(t, lossy, losing, diagnosis.LossHigh),
		"no longer measured":     stale,
		"own uplink":             story(t, noICMP, suspect, diagnosis.ICMPBlocked, diagnosis.PMTUBlackHole, diagnosis.VantageSuspect),
		"DF cleared": story(t, func(r *Report) {
			for i := range r.PMTU.Results {
				r.PMTU.Results[i].Note = "packets above 1400 bytes arrive in pieces: 192.0.2.65 clears DF"
			}
		}, none),
		"quotes that were rewritten": story(t, func(r *Report) {
			s := &r.PMTU.Results[1]
			s.State, s.Bytes, s.Packets, s.Inexact, s.InexactFrom, s.InexactMTU = search.Reduced, 1400, 9, 4, hops()[1], 1400
			s.Note = "4 PTBs of 192.0.2.33 naming 1400 quote no probe exactly"
		}, none),
		"IPv6 alone": story(t, func(r *Report) {
			r.Addresses = []Address{{Address: addr("203.0.113.10"), State: Unroutable, Reason: "route to 203.0.113.10: network is unreachable"}}
			r.Address, r.Source, r.PMTU.Hops = addr("2001:db8:10::1"), addr("2001:db8:7::1"), nil
		}, none),
		"source port 500 alone": story(t, func(r *Report) {
			strangers(r)
			for i := range r.Flows.Results[1:] {
				r.Flows.Results[1+i].Fixed = true
			}
		}, none),
		"unreachable": story(t, func(r *Report) {
			r.IKE = &ike.Results{IKE: silentPort(500), NATT: silentPort(4500)}
			r.ICMP = &icmp.Result{State: icmp.Silent, Sent: 16, Unanswered: 3, Since: measured.Add(-time.Minute), At: measured}
			r.PMTU = &pmtu.Snapshot{}
		}, none, diagnosis.PeerSilent),
	}
}

func ikeHoleWithPlace(r *Report) {
	ikeHole(r)
	r.PMTU.Results[1].LastHopPassed, r.PMTU.Results[1].FirstHopFailed = hops()[1], hops()[2]
}
