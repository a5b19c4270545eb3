package diagnosis

import (
	"fmt"
	"net/netip"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/netio"
	wire "ipsec_path_exporter/internal/wire/icmp"
)

// Diagnoses of requests that are refused by ICMP errors, and of answers that this host drops. Who
// sent the error decides what it means. An error of this host itself is none of these: the probe was
// not sent.
const (
	PeerRefuses = "peer_refuses"
	NoRoute     = "no_route"
	LocalFilter = "local_filter"
)

// refusals is how many ICMP errors for the requests of one round make a refusal. Routers limit
// their rate (RFC 1812, section 4.3.2.8).
const refusals = 2

// refusal returns the ICMP error for the newest requests of a method that were not answered.
func (f *Facts) refusal(m collectors.Method) collectors.PathError {
	if m != collectors.ICMP {
		if r := f.replies(m); r.State == ike.Silent || r.State == ike.Refused {
			return r.Error
		}
	} else if r := f.echoes(); r.State == icmp.Silent {
		return r.Error
	}
	return collectors.PathError{}
}

// fromPeer reports whether the peer itself refused the requests of a method.
func (f *Facts) fromPeer(m collectors.Method) bool {
	e := f.refusal(m)
	return e.From.IsValid() && e.From == f.Address && (e.Outcome == netio.Unreachable || e.Outcome == netio.Refused)
}

// speaker names the sender of an ICMP error.
func (f *Facts) speaker(from netip.Addr) string {
	if from == f.Address {
		return "the peer itself"
	}
	return from.String()
}

// peerRefuses: the peer is up, and its packet filter refuses IKE from this source.
//
// How sure it is: the peer itself refuses both UDP ports by ICMP errors, and does not answer IKE on
// either. Port unreachable may also mean that no daemon listens, so it counts only where the peer
// refuses echo requests too, which need no daemon. A filter that forges the peer's address in its
// errors looks the same.
func (f *Facts) peerRefuses() (claim, text) {
	return f.refusedByPeer(), func() (string, []string) {
		e := f.refusal(collectors.IKE)
		return fmt.Sprintf("The peer is up and refuses IKE from this source itself (ICMP %s): its packet filter does not permit this source.", e.Name()),
			f.reachEvidences()
	}
}

func (f *Facts) refusedByPeer() claim {
	var both [2]claim
	for i, m := range collectors.IKEMethods() {
		silent, closed := f.silent(m), f.ikeIs(m, ike.Refused)
		both[i] = or(silent, closed)
		certain := silent.state == Holds || f.fromPeer(collectors.ICMP)
		if both[i].state == Holds && (!certain || !f.fromPeer(m)) {
			both[i] = not(both[i])
		}
	}
	return and(both[:]...)
}

// noRoute: a router on the path reports that it cannot reach the peer.
//
// How sure it is: nothing is answered by any method, and a router other than the peer sent at least
// two errors that name a missing route or host, or a TTL that has run out, as in a routing loop.
// Some routers report a missing route as host unreachable, so the two are not told apart.
func (f *Facts) noRoute() (claim, text) {
	return f.unreachable(), func() (string, []string) {
		e, what := f.reported(), "that it does not reach the peer: it has no route, or the peer does not answer on its last link"
		if e.Name() == wire.NameTTL {
			what = "that the TTL of packets to the peer runs out: the route is a loop"
		}
		return fmt.Sprintf("Router %s reports (ICMP %s) %s.", e.From, e.Name(), what), f.reachEvidences()
	}
}

// reported returns the error of a router that names a missing route or host, or a loop, with the
// number of them by all methods; the zero value if there is none.
func (f *Facts) reported() (most collectors.PathError) {
	counts := make(map[collectors.PathError]int)
	for _, m := range collectors.Methods() {
		e := f.refusal(m)
		n := e.Count
		e.Count = 0
		switch e.Name() {
		case wire.NameNetwork, wire.NameHost, wire.NameTTL:
			if counts[e] += n; e.From != f.Address && counts[e] > most.Count {
				most = e
				most.Count = counts[e]
			}
		}
	}
	return most
}

func (f *Facts) unreachable() claim {
	silence := f.nothingAnswers()
	if silence.state == Holds && f.reported().Count < refusals {
		return not(silence)
	}
	return silence
}

// reachEvidences returns a line for each method that was measured.
func (f *Facts) reachEvidences() []string {
	out := make([]string, 0, methods)
	for _, m := range collectors.Methods() {
		if f.measured(m) {
			out = append(out, f.reachEvidence(m))
		}
	}
	return out
}

// localFilter: answers reach this host, and its own packet filter or reverse path filter drops them.
//
// How sure it is: at least three answers to probes to this peer were seen on the link, matched as
// strictly as on the sockets, and not one of the same kind (ICMP or UDP) reached a socket. One that
// does refutes it.
func (f *Facts) localFilter() (claim, text) {
	return f.eaten(), func() (string, []string) {
		what, evidence := "", []string(nil)
		for _, kind := range []struct {
			name string
			netio.Seen
		}{{"ICMP", f.Protocols.Overheard.ICMP}, {"UDP", f.Protocols.Overheard.UDP}} {
			evidence = append(evidence, fmt.Sprintf("%s: %d answers seen on the link of this host, %d received", kind.name, kind.Link, kind.Socket))
			if what == "" && kind.Eaten() {
				what = kind.name
			}
		}
		return fmt.Sprintf("Answers of the path (%s) reach this host, and its own packet filter or reverse path filter drops them.", what), evidence
	}
}

func (f *Facts) eaten() claim {
	if f.Protocols == nil {
		return claim{}
	}
	o := &f.Protocols.Overheard
	eaten := o.ICMP.Eaten() || o.UDP.Eaten()
	return when(eaten || o.ICMP.Socket > 0, eaten, f.Protocols.At)
}
