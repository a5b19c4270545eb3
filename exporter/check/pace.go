package check

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// burstGap is the least time between two packets to a peer, of whatever collector: that of the probes in
// a burst of one search. What a check measures side by side is no denser than what it measures in turn.
const burstGap = 3 * time.Millisecond

// paced is a Network that keeps the pace of all packets to one peer.
type paced struct {
	collectors.Network

	mu   sync.Mutex
	next time.Time // when the next packet may be sent
}

// Send implements collectors.Network.
func (p *paced) Send(ctx context.Context, packet *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	p.mu.Lock()
	now := time.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(burstGap)
	p.mu.Unlock()
	if wait := at.Sub(now); wait > 0 {
		_ = volley.Pause(ctx, wait) // the network knows the end of ctx too
	}
	p.Network.Send(ctx, packet, timeout, answer)
}

// LocalDrops returns how many answers this host has lost, if the network knows it.
func (p *paced) LocalDrops(v6 bool) uint64 { return localDrops(p.Network, v6) }

// localDrops returns how many answers this host has lost, if a network knows it.
func localDrops(n collectors.Network, v6 bool) uint64 {
	if d, ok := n.(interface{ LocalDrops(v6 bool) uint64 }); ok {
		return d.LocalDrops(v6)
	}
	return 0
}
