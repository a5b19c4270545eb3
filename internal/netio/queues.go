//go:build linux

package netio

import (
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// queues counts probes by interface; the empty name stands for those whose interface is not known.
type queues struct {
	mu sync.Mutex
	by map[string]*queueCount
}

// A queueCount counts the probes that one queue took, and those that it dropped at once.
type queueCount struct{ probes, refused atomic.Uint64 }

// of returns the counts of an interface.
func (q *queues) of(device string) *queueCount {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == nil {
		q.by = make(map[string]*queueCount)
	}
	if q.by[device] == nil {
		q.by[device] = &queueCount{}
	}
	return q.by[device]
}

func (q *queues) snapshot() map[string]Queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make(map[string]Queue, len(q.by))
	for device, n := range q.by {
		out[device] = Queue{Probes: n.probes.Load(), Refused: n.refused.Load()}
	}
	return out
}

func (q *queues) dropped() (sum uint64) {
	for _, one := range q.snapshot() {
		sum += one.Refused
	}
	return sum
}

// Queues returns the queues of the interfaces by which probes leave, by name.
func (s *Stack) Queues() map[string]Queue {
	all := s.queues.snapshot()
	for device, q := range all {
		if device != "" {
			q.Sent, q.Dropped = s.routes.queue(device)
			all[device] = q
		}
	}
	return all
}

// queue returns what the queueing disciplines of an interface have sent and dropped; 0 where there is
// none. A discipline with others inside counts some of their drops, too: the largest number counts.
func (r *routes) queue(device string) (sent, dropped uint64) {
	link, err := r.handle.LinkByName(device)
	if err != nil {
		return 0, 0
	}
	if s := link.Attrs().Statistics; s != nil {
		sent, dropped = s.TxPackets, s.TxDropped
	}
	list, err := r.handle.QdiscList(link)
	if err != nil {
		return sent, dropped
	}
	for _, q := range list {
		if s := q.Attrs().Statistics; s != nil && q.Attrs().Parent != netlink.HANDLE_INGRESS && s.Basic != nil && s.Queue != nil {
			sent, dropped = max(sent, uint64(s.Basic.Packets)), max(dropped, uint64(s.Queue.Drops))
		}
	}
	return sent, dropped
}
