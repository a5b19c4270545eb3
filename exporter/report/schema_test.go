package report

import (
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	within "ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/schematest"
	"ipsec_path_exporter/internal/session"
)

// TestSchema holds the JSON of reports of every diagnosis to docs/schemas/check.schema.json.
func TestSchema(t *testing.T) {
	schema := schematest.Open("check")
	documents := all(t)
	documents["empty"] = nil
	documents["no address"] = []*Report{{Peer: "hq"}}
	rare := faulty(t, rarePath)
	rare.Tunnel.UDP = false
	documents["rare results"] = []*Report{rare, faulty(t, rareGateway)}
	documents["inside of a tunnel"] = []*Report{faulty(t, insideOfEveryKind)}
	for _, state := range partner.States() {
		documents["partner "+state.String()] = []*Report{faulty(t, func(r *Report) { withPartner(r, state) })}
	}
	documents["unknown results"] = []*Report{faulty(t, unmeasured)}
	for _, name := range diagnosis.Names() {
		r := faulty(t, func(*Report) {}, name)
		documents["diagnosis "+name] = []*Report{r}
		if name == diagnosis.NoSA {
			r.Diagnoses[0].Gateway = "hub"
		}
	}
	for name, reports := range documents {
		schema.Check(t, name, []byte(written(t, "json", reports)))
	}
	schema.AllUsed(t)
}

// rarePath has results of a path that no other report has.
func rarePath(r *Report) {
	by := collectors.PathError{Outcome: netio.Refused, Type: 3, Code: 3, From: r.Address, Count: 3}
	r.IKE.IKE = refusedPort(500, &by)
	r.IKE.IKE.State = ike.Refused
	r.Addresses = []Address{
		{Address: addr("203.0.113.11"), State: Answers},
		{Address: addr("203.0.113.12"), State: Silent},
		{Address: addr("203.0.113.13"), State: TriedUnknown, Reason: "ran out of time"},
		{Address: addr("203.0.113.14"), State: Untried},
	}
	r.Fragments = &fragments.Results{At: measured, Results: []fragments.Result{
		{Method: collectors.IKE, State: fragments.Pass, Long: fragments.Pass, LongSize: 3000, LongPieces: 3, LastFirst: fragments.Dropped, At: measured},
		{Method: collectors.NATT, State: fragments.Pass, LongSize: 3000, LongPieces: 3, At: measured},
	}}
	r.Protocols = &protocols.Results{At: measured, Results: []protocols.Result{
		{Protocol: protocols.ESP, State: protocols.Blocked, LastHop: 2, BlockedBy: hops()[2], Error: "admin_prohibited", Way: "wan1", Distance: 4},
	}}
}

// rareGateway is a gateway with SAs in every class, and one that counts bytes.
func rareGateway(r *Report) {
	r.Gateways = tables()
	p := &r.Gateways[0].Peers[0]
	p.Up, p.NATT = gateways.No, gateways.Yes
	p.In.Bytes = gateways.Counted(9)
	for _, s := range []gateways.IKEState{gateways.XAuth, gateways.ModeCfg, gateways.IKERekeying, gateways.IKEClosing} {
		p.IKE[gateways.IKEClass{Version: 1, State: s}] = 1
	}
	for _, s := range gateways.ChildStates() {
		p.Children[s] = 1
	}
}

// withPartner has a partner in a state, and what one that is up shows.
func withPartner(r *Report, state partner.State) {
	r.Partner = &partner.Result{State: state, To: netip.AddrPortFrom(addr("203.0.113.31"), 10862), Sent: 10, At: measured}
	if state != partner.Up {
		r.Partner.Reason = "the partner cannot be measured with"
		r.Partner.There.Fragments = partner.FragmentsDropped
		return
	}
	r.Partner.Received, r.Partner.RoundTrip, r.Partner.OneWay = 10, time.Millisecond, true
	r.Partner.Counts = session.Counts{LostThere: 2, DuplicatesBack: 1}
	d := &r.Partner.There
	d.DelayKnown, d.Delay, d.Error, d.Varies, d.Variation = true, time.Millisecond, time.Millisecond, true, time.Microsecond
	d.Marked, d.Sent, d.DSCP, d.Fragments = true, 10, 0, partner.FragmentsPass
	d.MTU = partner.MTU{State: search.Reduced, Bytes: 1400}
}

// insideOfEveryKind has an address behind the tunnel for each result of the search and each of TCP.
func insideOfEveryKind(r *Report) {
	r.Inside = &within.Results{At: measured}
	for i, state := range []search.State{search.Unknown, search.Clean, search.Reduced, search.BlackHole, search.Unreachable, search.Inconclusive} {
		r.Inside.Results = append(r.Inside.Results, within.Result{
			Target: within.Target{Address: addr("10.1.0.1")}, At: measured, Size: search.Verdict{State: state, Bytes: 1400}, TCP: within.TCPState(i % 4),
		})
	}
}

// unmeasured is a path whose collectors could not measure.
func unmeasured(r *Report) {
	r.ICMP = &icmp.Result{Reason: "no route to host", At: measured}
	r.IKE = &ike.Results{IKE: ike.Result{Port: 500, Reason: "no route to host", At: measured}, NATT: silentPort(4500)}
	r.Took = time.Second
}
