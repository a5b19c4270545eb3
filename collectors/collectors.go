// Package collectors holds what all measurements have in common: the peer that is measured, the methods, and how results
// become time series. Each subpackage measures one aspect of the path to a peer. Nothing here does I/O.
package collectors

import (
	"context"
	"time"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// Method says how something was tested. The names are roles: they stay the same when other ports are configured.
type Method uint8

// The methods.
const (
	// ICMP is echo requests.
	ICMP Method = iota
	// IKE is IKE on UDP 500 (RFC 7296, section 2).
	IKE
	// NATT is IKE on UDP 4500 behind the non-ESP marker (RFC 3948, section 2.2).
	NATT
)

// Methods are all methods in the order in which they are shown.
var methods = [...]Method{ICMP, IKE, NATT}

// Methods returns all methods in the order in which they are shown.
func Methods() []Method { return methods[:] }

// String is the method's label value.
func (m Method) String() string {
	switch m {
	case ICMP:
		return "icmp"
	case IKE:
		return "ike"
	case NATT:
		return "natt"
	}
	return "unknown"
}

// A Target is one peer as it is measured now: by name, at its resolved address.
type Target struct {
	// Peer is the peer's configured name.
	Peer string
	// Path is where its packets go.
	Path netio.Path
	// IKE is how it is spoken to.
	IKE IKESettings
}

// Identity tells flows to peers apart: the same peer by another address, from another source or by another interface is
// another flow. Initiator SPIs are made from it: a responder that sees a known SPI from elsewhere takes the probe for
// a retransmission and answers to where it first came from.
func (t Target) Identity() string {
	return t.Peer + "\x00" + t.Path.Dst.String() + "\x00" + t.Path.Src.String() + "\x00" + t.Path.Interface
}

// IKESettings say how a peer is spoken to.
type IKESettings struct {
	// Version limits the forms that are tried.
	Version ikeprobe.Version
	// Port and NATTPort are the UDP ports of the methods IKE and NATT.
	Port, NATTPort uint16
	// Auth shapes the IKEv1 offer.
	Auth ikeprobe.Auth
}

// A Measurer measures one aspect of the path to one peer.
// Silence on the path is a result; an error means the measurement itself could not be made.
type Measurer[R any] interface {
	Name() string
	Measure(ctx context.Context, t Target) (R, error)
}

// A Network sends probes. It is netio's Stack, or a simulated path.
type Network interface {
	// Send sends one probe and returns when it has left or failed to. It waits for the packet budget, and for nothing else.
	// answer is called from another goroutine, or before Send returns, and must not block; see netio.Answer for how often.
	Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer))
	// Route tells what this host knows about the way to a peer. It sends nothing.
	Route(path netio.Path) (netio.Route, error)
}
