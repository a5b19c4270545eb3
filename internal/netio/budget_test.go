package netio

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/internal/silence"
)

// withTTL is a UDP probe with a hop limit.
func withTTL(dst netip.Addr, ttl uint8) *Packet {
	p := datagramOf(dst, 500, 200)
	p.TTL = ttl
	return p
}

// TestSilentAddressIsSpared: whatever is asked for, no more than the budget leaves for an address
// that stays silent. Probes that do not get there are free, and answers end the count of their kind.
func TestSilentAddressIsSpared(t *testing.T) {
	p, s := inLab(t)
	p.DropUDPPort(t, 500)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		for range 3 * silence.Burst {
			if a := probe(t, s, withTTL(dst, 1)); a.Outcome != TimeExceeded {
				t.Fatalf("TTL 1: %+v", a)
			}
		}
		var account Account
		var refused atomic.Uint64
		answer := func(a Answer) {
			if a.Outcome == NotSent && errors.Is(a.Err, silence.ErrBudget) {
				refused.Add(1)
			}
		}
		for i := range 100 {
			packet := datagramOf(dst, 500, 200+i)
			packet.Account = &account
			s.Send(t.Context(), packet, 100*time.Millisecond, answer)
		}
		if sent := account.Packets.Load(); sent != silence.Burst || refused.Load() != 100-sent {
			t.Errorf("%d packets were sent and %d refused", sent, refused.Load())
		}
		if a := probe(t, s, withTTL(dst, 1)); a.Outcome != TimeExceeded {
			t.Errorf("TTL 1 after that: %+v", a)
		}
		for range 2 { // the first echo finds the address silent altogether
			s.Silence().Take(Lane(Path{Dst: dst}, Echo, 0), time.Now())
			if a := probe(t, s, echoOf(dst, 100)); a.Outcome != Delivered {
				t.Errorf("echo: %+v", a)
			}
		}
		if a := probe(t, s, datagramOf(dst, 500, 200)); a.Outcome != NotSent {
			t.Errorf("a datagram after an echo reply: %+v", a)
		}
		if got := s.Silence().Standing(Lane(Path{Dst: dst}, Echo, 0), time.Now()).Left; got != silence.Burst {
			t.Errorf("%d echoes left", got)
		}
	})
	if n := s.Silence().Withheld(); n != 2*(100-silence.Burst+1) {
		t.Errorf("%d withheld", n)
	}
}
