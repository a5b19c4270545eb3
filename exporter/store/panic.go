package store

import (
	"fmt"
	"runtime/debug"

	"ipsec_path_exporter/collectors"
)

// A Panic is what an Exposer did instead of exposing its results. The scrape goes on: the page lacks the series of that
// Exposer, as for anything unknown, since what it had set before may be half new and half old. It is called again for
// the next page, and counted every time; it is reported only the first time, as it would fill the log otherwise.
type Panic struct {
	// Peer is whose series are missing.
	Peer string
	// Exposer is the type of the Exposer.
	Exposer string
	// Value is what it panicked with.
	Value any
	// Stack is where.
	Stack string
}

// OnPanic sets who is told about the first panic of each Exposer. It is called by the scrape, without any lock.
func (s *Store) OnPanic(report func(Panic)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = report
}

// Panics counts how often an Exposer panicked, for a counter of the process.
func (s *Store) Panics() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.panics
}

// failed counts a panic of g and adds it to what is to be reported if it is the first.
func (p *Peer) failed(g *group, failure *Panic, panics []Panic) []Panic {
	p.store.panics++
	if g.panicked {
		return panics
	}
	g.panicked = true
	failure.Peer, failure.Exposer = p.name, fmt.Sprintf("%T", g.exposer)
	return append(panics, *failure)
}

// expose calls e and returns its panic, if any.
func expose(e collectors.Exposer) (failure *Panic) {
	defer func() {
		if v := recover(); v != nil {
			failure = &Panic{Value: v, Stack: string(debug.Stack())}
		}
	}()
	e.Expose()
	return nil
}
