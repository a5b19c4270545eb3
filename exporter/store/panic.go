package store

import (
	"fmt"
	"runtime/debug"
	"time"

	"ipsec_path_exporter/collectors"
)

// A Panic is the failure of an Exposer to expose its results. The scrape continues: the page lacks
// the series of that Exposer, as for anything unknown, because the values that it had set may be
// half new and half old. The Exposer is called again for the next page. Every panic is counted;
// only the first is reported, so that the log does not fill.
type Panic struct {
	// Peer is the peer without the series, Exposer the type of the Exposer.
	Peer, Exposer string
	Value         any
	Stack         string
}

// OnPanic sets the function that a scrape calls, without a lock, with the first panic of each
// Exposer.
func (s *Store) OnPanic(report func(Panic)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = report
}

// Panics returns how often an Exposer panicked, for a counter of the process.
func (s *Store) Panics() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.panics
}

// A place is that of an Exposer among those of its peer.
type place struct {
	peer  *Peer
	index int
}

// failed counts a panic and appends it to the panics to report if it is the first.
func (s *Store) failed(at place, failure *Panic, panics []Panic) []Panic {
	s.panics++
	if s.panicked[at] {
		return panics
	}
	s.panicked[at] = true
	failure.Peer, failure.Exposer = at.peer.name, fmt.Sprintf("%T", at.peer.groups[at.index].exposer)
	return append(panics, *failure)
}

// expose calls e with the store's row and returns its panic, if any.
func (s *Store) expose(e collectors.Exposer, now time.Time) (failure *Panic) {
	defer func() {
		if v := recover(); v != nil {
			failure = &Panic{Value: v, Stack: string(debug.Stack())}
		}
	}()
	e.Expose(&s.row, now)
	return nil
}
