package netio

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
)

// Reasons for which a "packet too big" is not believed.
const (
	// RejectMalformed: it, or the packet that it quotes, cannot be read.
	RejectMalformed = "malformed"
	// RejectUnknownProbe: it quotes a packet to an address we probe, but no probe that is under way.
	RejectUnknownProbe = "unknown_probe"
	// RejectToken: the quote reaches as far as the token, and that is not the probe's.
	RejectToken = "wrong_token"
	// RejectIPID: the quoted IPv4 identification is not the probe's.
	RejectIPID = "wrong_ip_id"
	// RejectSize: the quoted packet is not as long as the probe was.
	RejectSize = "wrong_size"
)

var rejectReasons = [...]string{RejectMalformed, RejectUnknownProbe, RejectToken, RejectIPID, RejectSize}

// RejectReasons returns all reasons for which netio rejects a "packet too big".
func RejectReasons() []string { return rejectReasons[:] }

// Stats counts what the sockets saw. All counters only grow.
type Stats struct {
	// Errors counts the believed ICMP errors by icmp.ErrorName.
	Errors map[string]uint64
	// Rejected counts the packet-too-big messages that were not believed, by reason.
	Rejected map[string]uint64
	// Drops counts, by socket, the answers that the kernel threw away because the socket's buffer was full.
	Drops map[string]uint64
	// Stray counts UDP packets that came to our port and answered no probe.
	Stray uint64
	// Delayed is how long probes have waited for the packet budget, all together.
	Delayed time.Duration
	// UnderWay is the number of probes that are not forgotten yet.
	UnderWay int
}

// counters is a closed set of named counters.
type counters struct {
	names []string
	n     []atomic.Uint64
}

func newCounters(names []string) *counters {
	return &counters{names: names, n: make([]atomic.Uint64, len(names))}
}

func (c *counters) add(name string) {
	if i := slices.Index(c.names, name); i >= 0 {
		c.n[i].Add(1)
	}
}

func (c *counters) snapshot() map[string]uint64 {
	m := make(map[string]uint64, len(c.names))
	for i, name := range c.names {
		m[name] = c.n[i].Load()
	}
	return m
}

// dropCounts counts, by the names of sockets, what the kernel threw away because their buffers were full. The kernel keeps a
// 32-bit total for each socket, which is asked for when it is needed (SO_MEMINFO, socket(7)).
type dropCounts struct {
	mu      sync.Mutex
	sockets []*dropSocket
	// known is what answers last returned for IPv4 and IPv6: how many were lost, as far as that is known without asking.
	known [2]atomic.Uint64
}

// A dropSocket is one socket. What is lost on one for suspects (filter.go) was most likely no answer.
type dropSocket struct {
	name     string
	v6       bool
	suspects bool
	read     func() (uint32, error)
	last     uint32
	sum      uint64
}

func (d *dropCounts) register(s *dropSocket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sockets = append(d.sockets, s)
}

// refresh asks the kernel.
func (d *dropCounts) refresh() {
	for _, s := range d.sockets {
		if total, err := s.read(); err == nil {
			s.sum += uint64(total - s.last)
			s.last = total
		}
	}
}

// answers is how many answers of a family were lost. The kernel's counter also grows with every ICMPv6 message of a wrong checksum,
// which anybody can send, for each raw socket alike: what the suspects' socket lost as well was no lack of room for answers.
func (d *dropCounts) answers(v6 bool) (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	var answers, junk uint64
	for _, s := range d.sockets {
		switch {
		case s.v6 != v6, s.suspects && !v6:
		case s.suspects:
			junk += s.sum
		default:
			answers += s.sum
		}
	}
	n = answers - min(answers, junk)
	family := d.family(v6)
	n = max(n, family.Load()) // it only grows
	family.Store(n)
	return n
}

func (d *dropCounts) family(v6 bool) *atomic.Uint64 {
	if v6 {
		return &d.known[1]
	}
	return &d.known[0]
}

func (d *dropCounts) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	m := make(map[string]uint64, len(d.sockets))
	for _, s := range d.sockets {
		m[s.name] += s.sum
	}
	return m
}

// Stats returns the counters as they are now.
func (s *Stack) Stats() Stats {
	return Stats{
		Errors:   s.errors.snapshot(),
		Rejected: s.rejected.snapshot(),
		Drops:    s.drops.snapshot(),
		Stray:    s.stray.Load(),
		Delayed:  time.Duration(s.pacer.delayed.Load()),
		UnderWay: s.flights.len(),
	}
}

func newErrorCounters() *counters { return newCounters(icmp.ErrorNames()) }
