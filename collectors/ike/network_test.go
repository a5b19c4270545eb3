package ike_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

const (
	peer     = "hq"
	address  = "203.0.113.10"
	interval = 30 * time.Second
	delay    = 20 * time.Millisecond
)

func target(address string) collectors.Target {
	return collectors.Target{
		Peer: peer,
		Path: netio.Path{Dst: netip.MustParseAddr(address)},
		IKE:  collectors.IKESettings{Port: 500, NATTPort: 4500},
	}
}

// A sent probe, identified by its token.
type sent struct {
	At     time.Duration
	Method collectors.Method
	Form   ikeprobe.Form
}

// network answers probes as its script says, with the flags that netio sets.
type network struct {
	keys   *ikeprobe.Keyring
	script func(s sent, n int) []reply // n counts the probes of that method and form from 0

	mu      sync.Mutex
	sent    []sent
	packets []netio.Packet
	counts  map[sent]int
	began   time.Time
	route   netio.Route
	err     error
	routes  int
	block   time.Duration // how long Send waits for the packet budget
}

// A reply is one answer of the fake network, some time after the packet was sent.
type reply struct {
	after  time.Duration
	answer netio.Answer
	notify uint16 // makes a reply with this notify
}

func silence(sent, int) []reply { return nil }

func newNetwork(t *testing.T, script func(s sent, n int) []reply) *network {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return &network{keys: keys, script: script, counts: make(map[sent]int), began: time.Now()}
}

// The notifies of the tests.
const (
	invalidMajor = 5     // RFC 7296, section 3.10.1
	noProposal   = 14    // RFC 7296, section 3.10.1; RFC 2408, section 3.14.1
	invalidKE    = 17    // RFC 7296, section 3.10.1
	cookie       = 16390 // RFC 7296, section 3.10.1
)

// answering answers the given forms by both methods, as real responders do.
func answering(forms ...ikeprobe.Form) func(s sent, n int) []reply {
	return func(s sent, _ int) []reply {
		if !slices.Contains(forms, s.Form) {
			return nil
		}
		return []reply{{after: delay, notify: notifyFor(s.Form)}}
	}
}

func notifyFor(f ikeprobe.Form) uint16 {
	switch f {
	case ikeprobe.V2BadKE:
		return invalidKE
	case ikeprobe.V2Major3:
		return invalidMajor
	default:
		return noProposal
	}
}

// message is an IKE message with one notify (RFC 7296, sections 3.1 and 3.10; RFC 2408, sections
// 3.1 and 3.14).
func message(s sent, spi netio.Token, notify uint16) []byte {
	payload, version, exchange, flags := byte(41), byte(0x20), byte(34), byte(0x20)
	body := []byte{0, 0, 0, 8, 0, 0, byte(notify >> 8), byte(notify)}
	if s.Form.Version() == ikeprobe.V1 {
		payload, version, exchange, flags = 11, 0x10, 5, 0
		body = []byte{0, 0, 0, 12, 0, 0, 0, 1, 1, 0, byte(notify >> 8), byte(notify)}
	}
	var m []byte
	if s.Method == collectors.NATT {
		m = make([]byte, 4)
	}
	m = append(m, spi[:]...)
	m = append(m, 1, 2, 3, 4, 5, 6, 7, 8, payload, version, exchange, flags, 0, 0, 0, 0, 0, 0, 0, byte(28+len(body)))
	return append(m, body...)
}

func (f *network) Route(netio.Path) (netio.Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes++
	return f.route, f.err
}

// identify returns the probe to which a token belongs.
func (f *network) identify(p *netio.Packet) (s sent, ok bool) {
	for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
		for _, form := range ikeprobe.Ladder(ikeprobe.Auto) {
			if f.keys.SPI(collectors.Target{Peer: peer, Path: p.Path}.Identity(), m.String(), form, 0) == p.Token {
				return sent{time.Since(f.began), m, form}, true
			}
		}
	}
	return sent{}, false
}

func (f *network) Send(_ context.Context, p *netio.Packet, limit time.Duration, answer func(netio.Answer)) {
	time.Sleep(f.block)
	s, ok := f.identify(p)
	if !ok {
		panic("a token that belongs to no form")
	}
	f.mu.Lock()
	copied := *p
	copied.Payload = slices.Clone(p.Payload)
	f.sent, f.packets = append(f.sent, s), append(f.packets, copied)
	key := sent{Method: s.Method, Form: s.Form}
	n := f.counts[key]
	f.counts[key]++
	f.mu.Unlock()

	decided := false
	for _, r := range f.script(s, n) {
		a := r.answer
		if a.Outcome == netio.NotSent || a.Outcome == netio.TooBigLocally {
			answer(a)
			return
		}
		if r.notify != 0 {
			a.Outcome, a.Payload = netio.Delivered, message(s, p.Token, r.notify)
		}
		a.RoundTrip, a.Late, a.Duplicate = r.after, r.after >= limit, decided && r.after < limit
		decided = decided || r.after < limit
		time.AfterFunc(r.after, func() { answer(a) })
	}
	if !decided {
		time.AfterFunc(limit, func() { answer(netio.Answer{Outcome: netio.Silent}) })
	}
}
