package icmp_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

const (
	peer     = "hq"
	interval = 5 * time.Second
	timeout  = 2 * time.Second
)

func target(address string) collectors.Target {
	return collectors.Target{Peer: peer, Path: netio.Path{Dst: netip.MustParseAddr(address)}}
}

// A reply is one answer of the fake network, some time after the packet was sent.
type reply struct {
	after  time.Duration
	answer netio.Answer
}

func delivered(after time.Duration) reply {
	return reply{after, netio.Answer{Outcome: netio.Delivered, RoundTrip: after}}
}

// network answers every probe as its script says, with the flags that netio sets.
type network struct {
	script func(n int) []reply // n counts from 0; no reply is silence

	mu     sync.Mutex
	sent   []netio.Packet
	at     []time.Duration
	began  time.Time
	route  netio.Route
	err    error
	routes int
}

func newNetwork(t *testing.T, script func(n int) []reply) *network {
	t.Helper()
	return &network{script: script, began: time.Now()}
}

func (f *network) Route(netio.Path) (netio.Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes++
	return f.route, f.err
}

func (f *network) Send(_ context.Context, p *netio.Packet, limit time.Duration, answer func(netio.Answer)) {
	f.mu.Lock()
	n := len(f.sent)
	f.sent = append(f.sent, *p)
	f.at = append(f.at, time.Since(f.began))
	f.mu.Unlock()

	replies := f.script(n)
	decided := false
	for i, r := range replies {
		switch {
		case r.answer.Outcome == netio.NotSent || r.answer.Outcome == netio.TooBigLocally:
			answer(r.answer)
			return
		case r.after >= limit:
			r.answer.Late = true
		case i == 0:
			decided = true
		}
		if i > 0 && r.answer.Outcome == netio.Delivered && replies[i-1].answer.Outcome == netio.Delivered {
			r.answer.Duplicate, r.answer.Late = true, false
		}
		time.AfterFunc(r.after, func() { answer(r.answer) })
	}
	if !decided {
		time.AfterFunc(limit, func() { answer(netio.Answer{Outcome: netio.Silent}) })
	}
}
