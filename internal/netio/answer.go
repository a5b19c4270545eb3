package netio

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/enum"
)

// Outcome is the outcome of one probe. The zero value is not an outcome.
type Outcome uint8

// The outcomes are a closed set: switch over them exhaustively.
const (
	// Delivered means the peer answered this very probe: an echo reply, or a UDP reply that repeats
	// the token.
	Delivered Outcome = iota + 1
	// TooBig means a valid "packet too big" (ICMPv4 type 3 code 4, ICMPv6 type 2) quoted it.
	TooBig
	// TooBigLocally means this host refused the size (EMSGSIZE): it says nothing about the path.
	TooBigLocally
	// Refused means the peer itself answered with ICMP port or protocol unreachable: the probe
	// arrived, and no service listens there.
	Refused
	// Unreachable means any other valid ICMP destination unreachable quoted this probe.
	Unreachable
	// TimeExceeded means a router on the path dropped the probe because its TTL ran out.
	TimeExceeded
	// Silent means that no answer came in time.
	Silent
	// NotSent means the probe did not leave this host (Err): the path was not measured. It may come
	// after Silent, where this host reports late that no neighbor answers.
	NotSent
)

// String names the outcome in lower case with underscores.
func (o Outcome) String() string {
	return enum.Name(o, "unknown", "delivered", "too_big", "too_big_locally", "refused", "unreachable", "time_exceeded", "silent", "not_sent")
}

// An Answer is the outcome of a probe with its details.
//
// A probe gets one decisive Answer (at the latest Silent when its time is over, or TooBigLocally or
// NotSent at once). Further ones may follow until the probe is forgotten: a second reply
// (Duplicate), or a reply after its time was over (Late). A late reply still proves that the probe
// arrived.
type Answer struct {
	Outcome   Outcome
	Late      bool
	Duplicate bool
	// From is the address that answered: the peer, or the router that sent the ICMP error.
	From netip.Addr
	// MTU is the next-hop MTU named by a TooBig (0: it named none), or for TooBigLocally the most
	// that this host sends (0: not known). In bytes, IP header included.
	MTU int
	// Sent is when the kernel took the probe, Received when it received the answer.
	Sent, Received time.Time
	// RoundTrip is Received - Sent, for answers that came from the network.
	RoundTrip time.Duration
	// Type and Code are fields of the ICMP message of this answer, if there is one.
	Type, Code uint8
	// Cut is the size of the first fragment of the probe that an ICMP error quotes: the probe was cut
	// on the path. 0 if it was quoted whole.
	Cut int
	// FragmentSize is the size of the answer's largest fragment, 0 if whole or unknown.
	FragmentSize int
	// Short means that an echo reply carries less than its request did.
	Short bool
	// TTL and DontFragment are fields of the answer's IPv4 header, 0 and false if not visible.
	TTL          uint8
	DontFragment bool
	// Payload is the UDP payload of a reply. Valid only during the call.
	Payload []byte
	// Wire is the IP packet of the answer, for probes with OnWire, reassembled; headers that the
	// kernel does not show are filled in. Valid only during the call.
	Wire []byte
	// LocalDrops is set for Silent where a full socket buffer of this host has lost answers since
	// the probe was sent: then the silence says nothing about the path.
	LocalDrops bool
	// Err is set for NotSent and TooBigLocally.
	Err error
}

// A Hint is a "packet too big" that quotes a packet of the destination, protocol, port and length of
// a probe, but not its identifiers.
type Hint struct {
	From netip.Addr
	// MTU is the next-hop MTU that it names, 0 if it names none.
	MTU int
}

// Arrived reports whether the answer proves that the probe reached the peer.
func (a *Answer) Arrived() bool { return a.Outcome == Delivered || a.Outcome == Refused }

// A Route is what this host knows about the route to a peer without sending anything.
type Route struct {
	// Src is the source address that routing chooses.
	Src netip.Addr
	// Interface is the egress interface.
	Interface string
	// Gateway is the next router, the zero Addr where the peer itself is on the link.
	Gateway netip.Addr
	// LinkMTU is the most that can leave by it in one IP packet, in bytes: the MTU of the
	// interface, or that of the route if it is smaller.
	LinkMTU int
	// CachedMTU is the path MTU in this host's kernel, 0 if it is that of the link.
	CachedMTU int
	// Tunnel is empty, or says why probes to this peer would travel inside a tunnel of this host
	// ("policy", "device xfrm0 (xfrm)"), so that they would not measure the path.
	Tunnel string
}

// SameWay reports whether two routes leave this host by the same interface to the same router.
func (r *Route) SameWay(other *Route) bool {
	return r.Interface == other.Interface && r.Gateway == other.Gateway
}

// Way names the interface and the next router.
func (r *Route) Way() string {
	if r.Gateway.IsValid() {
		return r.Interface + " via " + r.Gateway.String()
	}
	return r.Interface
}
