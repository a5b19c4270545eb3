package netio

import (
	"net/netip"
	"time"
)

// Outcome is what became of one probe. The zero value is no outcome.
type Outcome uint8

// The outcomes of a probe. They are a closed set: switch over them exhaustively.
const (
	// Delivered means the peer answered this very probe: an echo reply, or a UDP reply that repeats the token.
	Delivered Outcome = iota + 1
	// TooBig means a valid "packet too big" (ICMPv4 type 3 code 4, ICMPv6 type 2) quoted this probe.
	TooBig
	// TooBigLocally means this host refused to send so large a packet (EMSGSIZE). It says nothing about the path.
	TooBigLocally
	// Refused means the peer itself answered with ICMP port or protocol unreachable: the probe arrived, nobody listens.
	Refused
	// Unreachable means any other valid ICMP destination unreachable quoted this probe.
	Unreachable
	// TimeExceeded means a router on the path dropped the probe because its TTL ran out.
	TimeExceeded
	// Silent means that no answer came in time.
	Silent
	// NotSent means the probe did not leave this host for a local reason (Err): the path was not measured.
	NotSent
)

// String names the outcome in lower case with underscores.
func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case TooBig:
		return "too_big"
	case TooBigLocally:
		return "too_big_locally"
	case Refused:
		return "refused"
	case Unreachable:
		return "unreachable"
	case TimeExceeded:
		return "time_exceeded"
	case Silent:
		return "silent"
	case NotSent:
		return "not_sent"
	}
	return "unknown"
}

// An Answer is what became of a probe.
//
// A probe gets one decisive Answer (at the latest Silent when its time is over, or TooBigLocally or NotSent at once).
// After it, further ones may follow until the probe is forgotten: a reply that came twice (Duplicate) or
// after its time was over (Late). A late reply is still proof that the probe arrived.
type Answer struct {
	Outcome   Outcome
	Late      bool
	Duplicate bool
	// From is who answered: the peer, or the router that sent the ICMP error.
	From netip.Addr
	// MTU is the next-hop MTU named by a TooBig (0: it named none), or for TooBigLocally the most that this host
	// sends (0: not known). In bytes, IP header included.
	MTU int
	// Sent is when the probe was handed to the kernel, Received when the kernel received the answer (its own timestamp).
	Sent, Received time.Time
	// RoundTrip is Received - Sent, for answers that came from the network.
	RoundTrip time.Duration
	// Type and Code are those of the ICMP message that made this answer, if one did.
	Type, Code uint8
	// FragmentSize is the size of the largest fragment in which the answer came, 0 if it came whole or that is not known.
	FragmentSize int
	// Short means that an echo reply carries less than its request did.
	Short bool
	// TTL and DontFragment are those of the answer's IPv4 header; 0 and false where there is none to see.
	TTL          uint8
	DontFragment bool
	// Payload is the UDP payload of a reply. Valid only during the call.
	Payload []byte
	// Wire is the IP packet of the answer, for probes with OnWire; what the kernel keeps of its headers is filled in. It was put together
	// again if it came in fragments. Valid only during the call.
	Wire []byte
	// LocalDrops is set for Silent where this host threw answers away since the probe was sent, because a socket's buffer was
	// full: then the silence says nothing about the path.
	LocalDrops bool
	// Err is set for NotSent and TooBigLocally.
	Err error
}

// Arrived tells whether the answer proves that the probe reached the peer.
func (a *Answer) Arrived() bool { return a.Outcome == Delivered || a.Outcome == Refused }

// A Route is what this host knows about the way to a peer, without sending anything.
type Route struct {
	// Src is the source address that routing chooses.
	Src netip.Addr
	// Interface is the egress interface.
	Interface string
	// LinkMTU is the most that can leave by it in one IP packet: the interface's MTU, or that of the route if it is
	// configured smaller. In bytes.
	LinkMTU int
	// CachedMTU is the path MTU that the kernel of this host believes, 0 if it has no opinion of its own.
	CachedMTU int
	// Tunnel is empty, or says why probes to this peer would travel inside a tunnel of this host
	// ("policy", "device xfrm0 (xfrm)"), so that they would not measure the path.
	Tunnel string
}
