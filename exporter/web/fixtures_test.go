package web_test

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
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// now is when the pages of the tests are shown, since is when their faults began.
var (
	now   = time.Date(2026, 1, 2, 5, 4, 5, 0, time.UTC)
	since = now.Add(-10 * time.Minute)
)

var addr = netip.MustParseAddr

// routers are on the path of every peer of the tests; the last one is the peer.
func routers() []netip.Addr {
	return []netip.Addr{addr("198.51.100.1"), addr("198.51.100.2"), addr("198.51.100.3"), addr("203.0.113.10")}
}

// well returns a peer without a fault, measured some seconds ago.
func well(name, isp string) *report.Report {
	at := now.Add(-4 * time.Second)
	responding := func(port uint16) ike.Result {
		return ike.Result{State: ike.Responding, Port: port, Version: 2, Form: ikeprobe.V2BadKE, Reply: "INVALID_KE_PAYLOAD", RoundTrip: 21 * time.Millisecond, At: at}
	}
	snapshot := &pmtu.Snapshot{At: at, Hops: routers(), Distance: 4, Reverse: pmtu.Reverse{State: search.Clean, LowerBytes: 1500, At: at}}
	for _, m := range collectors.Methods() {
		snapshot.Results = append(snapshot.Results, pmtu.Result{Method: m, State: search.Clean, Bytes: 1500, LinkBytes: 1500, Packets: 1, At: at})
	}
	return &report.Report{
		Peer: name, Host: "203.0.113.10", Address: addr("203.0.113.10"), Source: addr("198.51.100.7"), Labels: map[string]string{"isp": isp, "site": "oslo"},
		Started: at, Healthy: true, Measured: true,
		Findings: suite.Findings{
			ICMP: &icmp.Result{
				State: icmp.Reachable, Sent: 60, Received: 60, Last: 20 * time.Millisecond, Min: 19 * time.Millisecond, Avg: 20 * time.Millisecond,
				Max: 22 * time.Millisecond, Loss: collectors.Sample{Sent: 60}, At: at,
			},
			IKE:  &ike.Results{IKE: responding(500), NATT: responding(4500)},
			PMTU: snapshot,
		},
	}
}

// faulty returns a peer with diagnoses, in the words of the rules, changed by what is wrong.
func faulty(tb testing.TB, name, isp string, change func(*report.Report), summaries ...[2]string) *report.Report {
	tb.Helper()
	r := well(name, isp)
	r.Healthy = false
	for _, s := range summaries {
		r.Diagnoses = append(r.Diagnoses, diagnosis.Held{
			Diagnosis: diagnosis.Diagnosis{Name: s[0], Severity: diagnosis.SeverityOf(s[0]), Summary: s[1], Evidence: []string{"a measurement"}},
			Since:     since, Confirmed: now.Add(-20 * time.Second),
		})
	}
	change(r)
	cipher, ok := ipsec.CipherByName("aes-cbc-sha1")
	if !ok {
		tb.Fatal("no such cipher")
	}
	r.Tunnel = tunnelmtu.ESP{Cipher: cipher, UDP: true, IPv6: r.V6()}.Over(tunnelmtu.PathMTU(r.PMTU.Results))
	return r
}

// Sentences of the rules.
const (
	holeWords    = "Packets above 1400 bytes vanish on the path to the peer, and no usable packet too big comes back."
	reverseWords = "Packets above 1400 bytes vanish on the path from the peer."
	icmpWords    = "The peer speaks IKE but answers no echo requests: ICMP is filtered on the path or by the peer."
	silentWords  = "The peer answers nothing: neither echo requests nor IKE on any port."
	espWords     = "IP protocol 50 (esp) is blocked on the path to the peer, other packets get further."
	pieceWords   = "Messages in IP fragments vanish, whole ones are answered: fragments are dropped on the path or by the peer."
	builtWords   = "The gateway builds packets for a path MTU of 1500 bytes, but packets that large vanish on the path to the peer."
	stuckWords   = "The negotiation of the tunnel is stuck after phase 1, while addresses are handed out (mode config)."
	nattWords    = "IKE is answered on UDP 500 but not on UDP 4500: that port is filtered on the path or by the peer."
)

// hole is a black hole by these methods, of which IKE shows the place.
func hole(r *report.Report, methods ...collectors.Method) {
	for i := range r.PMTU.Results {
		s := &r.PMTU.Results[i]
		for _, m := range methods {
			if s.Method == m {
				s.State, s.Bytes = search.BlackHole, 1400
			}
		}
		if s.State == search.BlackHole && s.Method == collectors.IKE {
			s.LastHopPassed, s.FirstHopFailed = routers()[1], routers()[2]
		}
	}
}

func noEcho(r *report.Report) {
	r.ICMP = &icmp.Result{State: icmp.Silent, Sent: 60, At: now.Add(-time.Second)}
	r.PMTU.Results[0] = pmtu.Result{Method: collectors.ICMP, State: search.Unreachable, LinkBytes: 1500, At: now}
}

func reverseHole(r *report.Report) {
	hole(r, collectors.ICMP)
	r.PMTU.Reverse = pmtu.Reverse{State: search.BlackHole, LowerBytes: 1400, UpperBytes: 1400, At: now}
}

func espBlocked(r *report.Report) {
	r.Protocols = &protocols.Results{At: now, Distance: 4, Hops: routers(), Results: []protocols.Result{
		{Protocol: protocols.ICMP, State: protocols.Passes, LastHop: 4},
		{Protocol: protocols.ESP, State: protocols.Blocked, LastHop: 2, Last: routers()[1], FirstMissed: routers()[2]},
		{Protocol: protocols.AH, LastHop: 3},
	}}
}

// overIPv6 moves a peer to IPv6 addresses.
func overIPv6(r *report.Report) {
	r.Host, r.Address, r.Source = "2001:db8:1::10", addr("2001:db8:1::10"), addr("2001:db8::7")
	r.PMTU.Hops = []netip.Addr{addr("2001:db8::1"), addr("2001:db8::2"), addr("2001:db8::3"), r.Address}
}

// stuckAt adds the table of a gateway whose negotiation with the peer hangs.
func stuckAt(r *report.Report) {
	sa := &gateways.IKESA{Version: 1, State: gateways.ModeCfg, VendorState: "AM_TM_INIT_MODECFG_V6H"}
	r.Gateways = append(r.Gateways, gateways.Snapshot{
		Gateway: "hub", Attempted: true, Up: true, At: now.Add(-3 * time.Second),
		Peers: []gateways.PeerSnapshot{{PeerReading: gateways.PeerReading{
			Up: gateways.No, Negotiating: sa, IKESAs: 1, IKE: map[gateways.IKEClass]int{{Version: 1, State: gateways.ModeCfg}: 1}, Vendor: map[string]int{sa.VendorState: 1},
		}}},
	})
}

// demonstration returns the peers of the demo as its exporter finds them.
func demonstration(tb testing.TB) []*report.Report {
	tb.Helper()
	none := func(*report.Report) {}
	lossy := faulty(tb, "lossy", "globex", func(r *report.Report) { r.ICMP.Loss.Lost = 5 })
	lossy.Healthy = true
	fine, fine6 := faulty(tb, "healthy", "globex", none), faulty(tb, "healthy-ipv6", "globex", overIPv6)
	fine.Healthy, fine6.Healthy = true, true
	return []*report.Report{
		fine, fine6, lossy,
		faulty(tb, "icmp-dropped", "globex", noEcho, [2]string{diagnosis.ICMPBlocked, icmpWords}),
		faulty(tb, "fragments-dropped", "initech", func(r *report.Report) {
			r.Fragments = &fragments.Results{At: now, Results: []fragments.Result{{Method: collectors.IKE, State: fragments.Dropped}, {Method: collectors.NATT, State: fragments.Dropped}}}
		}, [2]string{diagnosis.FragmentsDropped, pieceWords}),
		faulty(tb, "esp-blocked", "initech", espBlocked, [2]string{diagnosis.ESPBlocked, espWords}),
		faulty(tb, "udp4500-blocked", "initech", func(r *report.Report) {
			r.IKE.NATT = ike.Result{State: ike.Silent, Port: 4500, At: now}
			r.PMTU.Results[2] = pmtu.Result{Method: collectors.NATT, State: search.Unreachable, LinkBytes: 1500, At: now}
		}, [2]string{diagnosis.UDP4500Blocked, nattWords}),
		faulty(tb, "unreachable", "initech", func(r *report.Report) {
			noEcho(r)
			r.IKE = &ike.Results{IKE: ike.Result{State: ike.Silent, Port: 500, At: now}, NATT: ike.Result{State: ike.Silent, Port: 4500, At: now}}
			r.PMTU = &pmtu.Snapshot{At: now}
		}, [2]string{diagnosis.PeerSilent, silentWords}),
		faulty(tb, "black-hole", "acme", func(r *report.Report) { hole(r, collectors.Methods()...) }, [2]string{diagnosis.PMTUBlackHole, holeWords}),
		faulty(tb, "black-hole-no-icmp", "acme", func(r *report.Report) {
			noEcho(r)
			hole(r, collectors.IKEMethods()...)
		}, [2]string{diagnosis.ICMPBlocked, icmpWords}, [2]string{diagnosis.PMTUBlackHole, holeWords}),
		faulty(tb, "black-hole-both-ways", "acme", func(r *report.Report) {
			hole(r, collectors.Methods()...)
			reverseHole(r)
		}, [2]string{diagnosis.PMTUBlackHole, holeWords}, [2]string{diagnosis.PMTUBlackHoleReverse, reverseWords}),
		faulty(tb, "black-hole-back", "acme", reverseHole, [2]string{diagnosis.PMTUBlackHoleReverse, reverseWords}),
		faulty(tb, "black-hole-ipv6", "acme", func(r *report.Report) {
			overIPv6(r)
			hole(r, collectors.Methods()...)
			r.PMTU.Results[1].LastHopPassed, r.PMTU.Results[1].FirstHopFailed = r.PMTU.Hops[1], r.PMTU.Hops[2]
			r.PMTU.Reverse = pmtu.Reverse{State: search.BlackHole, LowerBytes: 1400, UpperBytes: 1400, At: now}
		}, [2]string{diagnosis.PMTUBlackHole, holeWords}, [2]string{diagnosis.PMTUBlackHoleReverse, reverseWords}),
		atHub(faulty(tb, "tunnel-oversized", "acme", func(r *report.Report) {
			hole(r, collectors.Methods()...)
			atGateway(r, 1500)
		}, [2]string{diagnosis.PMTUBlackHole, holeWords}, [2]string{diagnosis.TunnelOversized, builtWords})),
		atHub(faulty(tb, "negotiation-stuck", "acme", func(r *report.Report) {
			noEcho(r)
			hole(r, collectors.IKEMethods()...)
			stuckAt(r)
		}, [2]string{diagnosis.ICMPBlocked, icmpWords}, [2]string{diagnosis.PMTUBlackHole, holeWords}, [2]string{diagnosis.NegotiationStuck, stuckWords})),
	}
}

// atHub names the gateway of the diagnoses that a gateway has.
func atHub(r *report.Report) *report.Report {
	for i := range r.Diagnoses {
		if d := &r.Diagnoses[i]; slices.Contains([]string{diagnosis.TunnelOversized, diagnosis.NegotiationStuck}, d.Name) {
			d.Gateway = "hub"
		}
	}
	return r
}

// atGateway adds the table of a gateway that builds packets for a path MTU.
func atGateway(r *report.Report, bytes int) {
	r.Gateways = append(r.Gateways, gateways.Snapshot{
		Gateway: "hub", Attempted: true, Up: true, At: now.Add(-30 * time.Second),
		Peers: []gateways.PeerSnapshot{{
			PeerReading: gateways.PeerReading{
				Up: gateways.Yes, PathMTU: bytes, NATT: gateways.Yes, Established: since,
				IKE:      map[gateways.IKEClass]int{{Version: 2, State: gateways.Established}: 1},
				Children: map[gateways.ChildState]int{gateways.Installed: 2},
			},
			In: gateways.Traffic{Packets: gateways.Counted(7)}, Out: gateways.Traffic{Packets: gateways.Counted(40)},
		}},
	})
}
