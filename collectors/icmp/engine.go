package icmp

import (
	"context"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// EchoData is how many bytes follow the ICMP header of an echo: as many as ping(8) sends by default, so that no
// filter takes it for anything else.
const EchoData = 56

// An Engine sends echo requests.
type Engine interface {
	// Echo sends one echo request. answer is called as collectors.Network does it: exactly once with what became of the echo
	// and possibly again for late and duplicate replies, from any goroutine, also before Echo returns.
	Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer))
}

// Shared is the usual Engine: all peers share the sockets of one Network.
type Shared struct {
	network collectors.Network
	account *netio.Account
}

// NewShared returns an Engine over network. account may be nil.
func NewShared(network collectors.Network, account *netio.Account) *Shared {
	return &Shared{network: network, account: account}
}

// Echo implements Engine.
func (s *Shared) Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer)) {
	s.network.Send(ctx, &netio.Packet{
		Path:     path,
		Protocol: netio.Echo,
		Size:     wireSize(path),
		Account:  s.account,
		Purpose:  "echo: does the peer answer?",
	}, timeout, answer)
}

// wireSize is the size of the whole IP packet of an echo.
func wireSize(path netio.Path) int { return path.HeaderIP() + netio.HeaderEcho + EchoData }
