//go:build linux

package netio

import (
	"cmp"
	"net/netip"

	"ipsec_path_exporter/internal/wire/icmp"
)

// findEcho returns the echo to an address with this identifier and sequence number.
func (t *flights) findEcho(dst netip.Addr, id, seq uint16) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := t.echoesOf(id)
	if table == nil {
		return nil
	}
	if f := table.find(seq); f != nil && f.dst == dst {
		return f
	}
	return nil
}

// findToken returns the probe, other than an echo, to an address that a token belongs to: of
// several, the youngest undecided one, because an older one may belong to a measurement that has
// ended.
func (t *flights) findToken(token Token, dst netip.Addr) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	var waiting, silent, last *flight
	for f := t.tokens[tokenKey{token, dst}]; f != nil; f = f.next {
		if f.decided == 0 {
			waiting = f
		}
		if f.decided == Silent {
			silent = f
		}
		last = f
	}
	return cmp.Or(waiting, silent, last)
}

// findUDP returns the UDP probe to an address and port whose token a payload repeats.
func (t *flights) findUDP(dst netip.AddrPort, payload []byte) *flight {
	for _, offset := range [...]int{0, markerSize} {
		if len(payload) < offset+TokenSize {
			break
		}
		f := t.findToken(Token(payload[offset:]), dst.Addr())
		if f != nil && f.protocol == UDP && f.offset == offset && f.port == dst.Port() {
			return f
		}
	}
	return nil
}

// findQuote returns the IPv4 probe with this destination and IP identification.
func (t *flights) findQuote(dst netip.Addr, ipID uint16) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.quotes[quoteKey{dst, ipID}]
}

// maxHints is the number of inexact quotes that one probe takes. A router sends one for each probe: a
// second one shows its owner that they are forged.
const maxHints = 2

// findInexact returns the probe that a PTB may be about, and counts it: of the probes that its quote
// resembles the oldest one with the fewest hints; nil if there is none.
func (t *flights) findInexact(set *sockets, q *icmp.Quote) (best *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to := t.targets[q.Dst]
	if to == nil {
		return nil
	}
	for _, f := range to.all {
		if f.set == set && f.hints < maxHints && (best == nil || f.hints < best.hints) && f.resembles(q) {
			best = f
		}
	}
	if best != nil {
		best.hints++
	}
	return best
}

// findLargest returns the undecided UDP probe with DF of the largest size to an address and port,
// for error queues whose quote was too short to hold the token.
func (t *flights) findLargest(dst netip.AddrPort) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *flight
	to := t.targets[dst.Addr()]
	if to == nil {
		return nil
	}
	for _, f := range to.all {
		if f.protocol == UDP && f.decided == 0 && f.port == dst.Port() && (best == nil || f.size > best.size) {
			best = f
		}
	}
	return best
}
