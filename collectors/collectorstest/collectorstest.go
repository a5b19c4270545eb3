// Package collectorstest holds what tests of collectors share: a peer and a scope for its series.
package collectorstest

import (
	"net/netip"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// Peer is the name of the peer.
const Peer = "hq"

// Target returns the peer on a simulated path.
func Target(v6 bool) collectors.Target {
	dst := netip.MustParseAddr("203.0.113.10")
	if v6 {
		dst = netip.MustParseAddr("2001:db8:1::10")
	}
	return collectors.Target{Peer: Peer, Path: netio.Path{Dst: dst}, IKE: collectors.IKESettings{Port: 500, NATTPort: 4500}}
}
