// Package inside measures the path inside the tunnel to a peer, where the users are: loss and round
// trip of echo, the inside path MTU, and the TCP maximum segment size (MSS) as it arrives here.
//
//	target ── 5 echo requests ──▶ reachable, round trip
//	       ── echo requests with DF, as the path MTU search plans them ──▶ inside path MTU
//	       ── one request for a TCP connection (SYN) ──▶ MSS of the SYN-ACK
//
// The probes are this host's own traffic: routes and IPsec policies send them into the tunnel, or to
// the gateway that has it. They go to the configured addresses only.
//
// They are harmless. An echo request leaves no state (RFC 792; RFC 4443, section 4.1). A request for
// a TCP connection is answered by this host with a reset, so the other end forgets it at once (RFC
// 9293, section 3.10.7.3) and no program there hears of it. A target that stays silent gets no
// search.
//
// The MSS is what the other end, or a device that clamps it on the way from there, allows this side
// to send. The MSS in the other direction is seen at the other end only.
package inside

import (
	"context"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/netio"
)

// A Target is an address behind the tunnel.
type Target struct {
	Address netip.Addr
	// Source is the address of this host that the tunnel's selectors need; the zero Addr lets routing
	// choose.
	Source netip.Addr
	// Port is a TCP port on which a program listens there, 0 to leave TCP out.
	Port uint16
}

func (t Target) path() netio.Path { return netio.Path{Dst: t.Address, Src: t.Source} }

// A Network sends probes as this host's own traffic.
type Network interface {
	collectors.Network
	// Request sends one request for a TCP connection, which is not made.
	Request(ctx context.Context, p netio.Path, port uint16, account *netio.Account, timeout time.Duration) (netio.SynAck, error)
}

// TCPState is the outcome of the requests for a TCP connection.
type TCPState uint8

// The states. TCPUnknown means that there was no request.
const (
	TCPUnknown TCPState = iota
	// TCPAnswered means that the target offers the connection.
	TCPAnswered
	// TCPRefused means that nothing listens there: the tunnel carried both packets.
	TCPRefused
	// TCPSilent means that no request was answered.
	TCPSilent
)

// String names the state.
func (s TCPState) String() string { return enum.Name(s, "unknown", "answered", "refused", "silent") }

// A Result is what one round found out about a target.
type Result struct {
	Target Target
	At     time.Time
	// Sent and Answered count the echo requests of the round. RoundTrip is the shortest.
	Sent, Answered int
	RoundTrip      time.Duration
	// Size is the result of the search for the inside path MTU, in bytes of the whole inner IP packet. Its
	// State is Unknown while echo is not answered.
	Size search.Verdict
	TCP  TCPState
	// MSS is the most payload of a segment to the target, in bytes; 0 if unknown.
	MSS int
	// Heard is when the target last answered anything, in any round; zero if never.
	Heard time.Time
}

// Reached reports whether anything was answered in the round.
func (r *Result) Reached() bool { return r.Answered > 0 || r.TCP == TCPAnswered || r.TCP == TCPRefused }

// Silent reports whether nothing was answered in the round.
func (r *Result) Silent() bool { return !r.At.IsZero() && !r.Reached() }

// headerTCP is the size of a TCP header without options (RFC 9293, section 3.1).
const headerTCP = 20

// Header is the size of the headers of a segment, without options: what an MSS leaves out (RFC 9293,
// section 3.7.1).
func (r *Result) Header() int { return r.Target.path().HeaderIP() + headerTCP }

// Segment is the size of the largest packet that the MSS allows, 0 if it is unknown.
func (r *Result) Segment() int {
	if r.MSS == 0 {
		return 0
	}
	return r.MSS + r.Header()
}

// Vanishes reports whether larger packets than Size.Bytes vanish, and nothing reports it.
func (r *Result) Vanishes() bool { return r.Size.State == search.BlackHole }

// Results are the newest results about all targets of a peer.
type Results struct {
	At      time.Time
	Results []Result
}
