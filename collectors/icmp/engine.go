package icmp

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// EchoData is the number of bytes after the ICMP header of an echo: the default of ping(8), so that
// no filter takes an echo for anything else.
const EchoData = 56

// An Engine sends echo requests.
type Engine interface {
	// Echo sends one echo request. It calls answer as collectors.Network does: exactly once with
	// the outcome, and again for late and duplicate replies, from any goroutine, even before Echo
	// returns.
	Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer))
}

// Shared is the usual Engine: all peers share the sockets of one Network. It serves one Collector.
type Shared struct {
	network  collectors.Network
	account  *netio.Account
	deferred bool
	memory   netio.Memory
}

// NewShared returns an Engine over network. account may be nil.
func NewShared(network collectors.Network, account *netio.Account) *Shared {
	return &Shared{network: network, account: account}
}

// NewDeferred returns an Engine whose echoes leave at the next flush of the network
// (netio.Packet.Deferred).
func NewDeferred(network collectors.Network, account *netio.Account) *Shared {
	return &Shared{network: network, account: account, deferred: true}
}

// soon returns an engine whose echoes leave at once, because somebody waits for the answers.
func soon(e Engine) Engine {
	if s, ok := e.(*Shared); ok && s.deferred {
		return NewShared(s.network, s.account)
	}
	return e
}

// packets are for reuse: a network does not keep a packet that it puts off.
var packets = sync.Pool{New: func() any { return &netio.Packet{} }}

// Echo implements Engine.
func (s *Shared) Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer)) {
	var p *netio.Packet
	if s.deferred {
		p = packets.Get().(*netio.Packet) //nolint:errcheck // nothing else is in there
		defer packets.Put(p)
	} else {
		p = &netio.Packet{}
	}
	*p = netio.Packet{
		Path: path, Protocol: netio.Echo, Size: wireSize(path), Account: s.account, Deferred: s.deferred, Memory: &s.memory, Purpose: collectors.PurposeEcho,
	}
	s.network.Send(ctx, p, timeout, answer)
}

// wireSize returns the size of the whole IP packet of an echo.
func wireSize(path netio.Path) int { return path.HeaderIP() + netio.HeaderEcho + EchoData }
