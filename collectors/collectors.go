// Package collectors holds what all measurements share: the peer, the methods, the rules for
// results, and their time series. Each subpackage measures one aspect of the path to a peer. This
// package does no I/O.
package collectors

import (
	"context"
	"strconv"
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// Method says how the path is tested. The names are roles: they do not depend on the configured
// ports.
type Method uint8

const (
	// ICMP is echo requests.
	ICMP Method = iota
	// IKE is IKE on UDP 500 (RFC 7296, section 2).
	IKE
	// NATT is IKE on UDP 4500 behind the non-ESP marker (RFC 3948, section 2.2).
	NATT
)

// Methods returns all methods in display order.
func Methods() []Method { return []Method{ICMP, IKE, NATT} }

// IKEMethods returns the methods that send IKE messages.
func IKEMethods() []Method { return Methods()[IKE:] }

// String returns the method's label value.
func (m Method) String() string { return enum.Name(m, "icmp", "ike", "natt") }

// A Target is one peer at its resolved address.
type Target struct {
	// Peer is the peer's configured name.
	Peer string
	Path netio.Path
	IKE  IKESettings
}

// PathOf returns the path as the packets of a method take it.
func (t Target) PathOf(m Method) netio.Path {
	if m == ICMP {
		return t.Path
	}
	return t.Path.For(netio.UDP, t.IKE.UDPPort(m))
}

// Identity returns a string that differs for each flow: peer, address, source, interface, mark, and
// ports. Initiator SPIs are derived from it, because a responder that sees a known SPI from elsewhere
// takes the probe for a retransmission and replies to the address of the first one.
func (t Target) Identity() string {
	id := t.Peer + "\x00" + t.Path.Dst.String() + "\x00" + t.Path.Src.String() + "\x00" + t.Path.Interface
	id += "\x00" + strconv.FormatUint(uint64(t.Path.Mark), 16)
	return id + "\x00" + strconv.Itoa(int(t.Path.Flow)) + "\x00" + t.IKE.SourcePort.String()
}

// IKESettings are the settings of IKE probes to a peer.
type IKESettings struct {
	// Version limits the forms that are tried.
	Version ikeprobe.Version
	// Port and NATTPort are the UDP ports of the methods IKE and NATT.
	Port, NATTPort uint16
	// Auth is the authentication method of the IKEv1 offer.
	Auth ikeprobe.Auth
	// SourcePort says from which ports of this host the probes leave.
	SourcePort SourcePort
}

// SourcePort is a choice of the UDP source ports of IKE messages.
type SourcePort uint8

// The choices.
const (
	// RandomPort is a port of this program.
	RandomPort SourcePort = iota
	// FixedPort is 500 for the method IKE and 4500 for NATT, for peers that accept no other.
	FixedPort
)

// String is the choice as configured.
func (p SourcePort) String() string { return enum.Name(p, "random", "fixed") }

// FixedPort returns the source port for a method, 0 where the program chooses it.
func (s IKESettings) FixedPort(m Method) uint16 {
	switch {
	case s.SourcePort != FixedPort:
		return 0
	case m == NATT:
		return netio.SourcePortNATT
	}
	return netio.SourcePortIKE
}

// UDPPort returns the port of the method IKE or NATT.
func (s IKESettings) UDPPort(m Method) uint16 {
	if m == NATT {
		return s.NATTPort
	}
	return s.Port
}

// A Measurer measures one aspect of the path to one peer.
// Silence on the path is a result; an error means that the measurement could not be made.
type Measurer[R any] interface {
	Measure(ctx context.Context, t Target) (R, error)
}

// A Network sends probes. It is netio's Stack or a simulated path.
type Network interface {
	Router
	// Send sends one probe. It waits only for the packet budget, and returns when the probe has
	// left or has failed to. answer must not block: it is called from another goroutine or before
	// Send returns; netio.Answer says how often.
	Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer))
}
