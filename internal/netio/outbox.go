//go:build linux

package netio

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
)

// outboxSize bounds the packets that leave by one system call. They all count as sent when it
// begins: with more of them, that would be too early for the last ones.
const outboxSize = 32

// mostDeferred is how long an echo request waits for Flush before the engine looks after it, which
// may take another longestRest.
const mostDeferred = 10 * time.Millisecond

// An outbox collects echo requests (Packet.Deferred) that leave by one socket.
type outbox struct {
	conn *conn

	mu       sync.Mutex
	began    time.Time // when the first packet came
	n        int
	packets  [outboxSize]outgoing
	messages [outboxSize]mmsghdr
	parts    [outboxSize]unix.Iovec
	names    [outboxSize]unix.RawSockaddrInet6
	// data and message are room to build a packet in.
	data, message []byte
}

// An outgoing packet is in an outbox.
type outgoing struct {
	f       *flight
	path    Path
	account *Account
	b, oob  []byte
}

// deferrable reports whether a probe can wait in an outbox, and returns that.
func (s *sockets) deferrable(p *Packet, f *flight) *outbox {
	switch {
	case !p.Deferred || p.Protocol != Echo || p.fragments() > 1 || p.OnWire != nil || f.way.raw.apart:
		return nil
	case p.Path.IPv6():
		return s.outbox6
	}
	return s.outbox4
}

// post puts an echo request into an outbox.
func (s *Stack) post(o *outbox, p *Packet, f *flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == outboxSize {
		s.empty(o)
	}
	if o.n == 0 {
		o.began = f.entered
	}
	out, i := &o.packets[o.n], o.n
	o.n++
	out.f, out.path, out.account, out.oob = f, p.path(), p.Account, source(p, f.way.raw)
	out.b = o.build(out.b[:0], p, f)
	o.parts[i].Base = &out.b[0]
	o.parts[i].SetLen(len(out.b))
	size := putSockaddr(&o.names[i], netip.AddrPortFrom(p.Path.Dst, 0), o.conn.v6)
	o.messages[i].set(&o.names[i], size, &o.parts[i], out.oob)
}

// build appends what the socket gets for an echo request: a whole packet of IPv4, the ICMPv6
// message.
func (o *outbox) build(b []byte, p *Packet, f *flight) []byte {
	o.data = appendEchoData(o.data[:0], p, f)
	if o.conn.v6 {
		return appendEchoFor6(b, f, o.data)
	}
	o.message = icmp.AppendEcho4(o.message[:0], f.flow.echoID, f.seq, o.data)
	return appendFragment(b, p, f, o.message, 0, false, false)
}

// Flush sends what waits in the outboxes (Packet.Deferred). It may call the functions that take
// answers to earlier probes.
func (s *Stack) Flush() {
	s.depart(0)
	s.engine.readAlong()
}

// depart sends what has waited in the outboxes for a time.
func (s *Stack) depart(waited time.Duration) {
	for _, o := range *s.outboxes.Load() {
		o.mu.Lock()
		if o.n > 0 && time.Since(o.began) >= waited {
			s.empty(o)
		}
		o.mu.Unlock()
	}
}

// empty sends what is in an outbox. The caller holds its lock.
func (s *Stack) empty(o *outbox) {
	for begin := 0; begin < o.n; {
		at := time.Now()
		n, err := o.send(begin)
		for i := begin; i < begin+n; i++ {
			out := &o.packets[i]
			s.left(out.f, at, out.account, 1, out.f.size)
		}
		if begin += n; err != nil {
			out := &o.packets[begin]
			s.refused(out.f, out.path, out.f.size, err)
			begin++
		}
	}
	for i := range o.n {
		o.packets[i].f = nil
	}
	o.n = 0
}

// send sends the packets from a number on, and returns how many the kernel took, and why it did not
// take the next one. An error that may be an ICMP error for an earlier packet is tried again.
func (o *outbox) send(begin int) (n int, err error) {
	for range pendingTries {
		err = o.conn.use(func(fd int) (err error) {
			n, err = sending(fd, o.messages[begin:o.n])
			return err
		})
		if !isPending(err) {
			return n, err
		}
	}
	return n, err
}

// register has Flush empty the outboxes of sockets. The caller holds the lock.
func (s *Stack) register(set *sockets) {
	all := slices.Clone(*s.outboxes.Load())
	for _, o := range [...]*outbox{set.outbox4, set.outbox6} {
		if o != nil {
			all = append(all, o)
		}
	}
	s.outboxes.Store(&all)
}

// unregister forgets the outboxes of sockets that are closed. The caller holds the lock.
func (s *Stack) unregister(set *sockets) {
	all := slices.DeleteFunc(slices.Clone(*s.outboxes.Load()), func(o *outbox) bool { return o == set.outbox4 || o == set.outbox6 })
	s.outboxes.Store(&all)
}
