package netio

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/silence"
)

// Lane returns the kind of packet and the way that the silence of a destination is counted by. port
// is that of UDP.
func Lane(path Path, protocol Protocol, port uint16) silence.Lane {
	if protocol != UDP {
		port = 0
	}
	kinds := [...]silence.Kind{Echo: silence.Echo, UDP: silence.UDP, ESP: silence.IPsec, AH: silence.IPsec}
	return silence.Lane{Dst: path.Dst.Unmap(), Src: path.Src, Interface: path.Interface, Mark: path.Mark, Kind: kinds[min(protocol, AH)], Port: port}
}

// Enter enters a probe that is about to be sent, or fails with silence.ErrBudget.
func Enter(r *silence.Record, p *Packet, now time.Time) (silence.Charge, error) {
	return r.Admit(Lane(p.Path, p.Protocol, p.Port), now, p.probe())
}

// probe is the packet as the record of silence sees it.
func (p *Packet) probe() silence.Probe {
	return silence.Probe{
		Packets: p.fragments(), TTL: p.TTL, Plain: p.TTL == 0 && p.FragmentSize == 0 && p.WireSize() <= plainSize,
		Flow: uint16(p.Path.Flow),
	}
}

// plainSize is the most that every host takes, fragmented or not (RFC 791, section 3.1).
const plainSize = 576

// Learn takes what an answer shows of the silence of the destination.
func Learn(r *silence.Record, c silence.Charge, dst netip.Addr, a *Answer, now time.Time) {
	switch a.Outcome {
	case Delivered, Refused:
		r.Answered(c, now)
	case Unreachable, TimeExceeded, TooBig:
		if a.From.Unmap() == dst.Unmap() {
			r.Answered(c, now)
			return
		}
		r.Refund(c, now, a.Outcome == TimeExceeded)
	case NotSent, TooBigLocally:
		r.Refund(c, now, false)
	case Silent:
	}
}
