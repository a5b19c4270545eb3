//go:build linux

package netio

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// flowRest is how long the sockets of an unused flow stay open. It is longer than any probe is
// remembered.
const flowRest = 140 * time.Second

// A flow is what the probes of one Flow share on the sockets of one interface.
type flow struct {
	number       Flow
	echoID       uint16 // the ICMP identifier
	udp4, udp6   *conn
	port4, port6 uint16
	drops        []*dropSocket
	// beside send from these ports where routing by ports demands it (datagrams.go). They are opened at
	// first use and receive nothing. Stack.mu guards them.
	beside [besides]*conn
	used   atomic.Int64 // the time of the newest probe, in nanoseconds
}

// port is the UDP port from which a peer is probed.
func (f *flow) port(dst netip.Addr) uint16 {
	if dst.Is4() {
		return f.port4
	}
	return f.port6
}

func (f *flow) close() {
	for _, c := range append(f.beside[:], f.udp4, f.udp6) {
		c.close()
	}
}

// use returns the sockets and the flow of a probe, and opens what is not open.
func (s *Stack) use(p *Packet, now time.Time) (*sockets, *flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, nil, net.ErrClosed
	}
	set, err := s.set(p.Path.Interface)
	if err != nil {
		return nil, nil, err
	}
	if p.SourcePort != 0 {
		if err := s.usePort(set, p.SourcePort, p.Path.IPv6()); err != nil {
			return nil, nil, err
		}
	}
	number := p.Path.Flow % Flows
	if set.flows[number] == nil {
		if err := s.openFlow(set, number); err != nil {
			return nil, nil, err
		}
	}
	f := set.flows[number]
	f.used.Store(now.UnixNano())
	return set, f, nil
}

// openFlow opens a further flow. The caller holds the lock.
func (s *Stack) openFlow(set *sockets, number Flow) error {
	var f *flow
	err := s.home.do(func() (err error) {
		f, err = set.openFlow(number, s.flights.newEchoID())
		return err
	})
	if err != nil {
		return err
	}
	f.used.Store(time.Now().UnixNano())
	set.flows[number] = f
	if err := set.filter(); err != nil {
		set.flows[number] = nil
		f.close()
		return err
	}
	f.drops = s.listen(f.receivers(set))
	if number != 0 {
		s.wg.Go(func() { s.rest(set, f) })
	}
	return nil
}

// rest closes a flow when it has not been used for a while.
func (s *Stack) rest(set *sockets, f *flow) {
	for !s.retire(set, f) {
		pause(s.ctx, flowRest)
	}
}

// retire closes a flow that was not used for flowRest, and reports whether it is closed.
func (s *Stack) retire(set *sockets, f *flow) (closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || set.flows[f.number] != f {
		return true
	}
	if time.Since(time.Unix(0, f.used.Load())) < flowRest {
		return false
	}
	set.flows[f.number] = nil
	s.closeFlow(f)
	_ = set.filter() // else it lets through more than it has to
	return true
}

// closeFlow closes the sockets of a flow. The caller holds the lock.
func (s *Stack) closeFlow(f *flow) {
	s.drops.forget(f.drops)
	delete(s.ports, f.port4)
	delete(s.ports, f.port6)
	s.flights.dropEchoes(f.echoID)
	f.close()
}
