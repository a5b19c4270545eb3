//go:build linux

package netio

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/silence"
)

// A Memory is what a Stack remembers for one who sends the same kind of packet by one path again and
// again, so that nothing has to be looked up for each. The zero Memory knows nothing. One goroutine at
// a time may send with it.
type Memory struct {
	path  Path // that the rest is about
	place silence.Place
	src   netip.Addr
	queue *queueCount
	until time.Time
}

// remember returns what is known of the path of a packet. The route may be as old as wayAge: it only
// shows the source address and the queue. It is looked up if it is needed.
func (s *Stack) remember(p *Packet, now time.Time) *Memory {
	m := p.Memory
	if m == nil {
		m = &Memory{}
	}
	path := p.path()
	if m.path != path {
		*m = Memory{path: path}
	}
	if m.until.After(now) {
		return m
	}
	m.src = p.Path.Src
	route, known := s.routes.remembered(path)
	if !m.src.IsValid() {
		m.src = route.Src
	}
	if m.queue = s.queues.of(route.Interface); known {
		m.until = now.Add(wayAge)
	}
	return m
}
