// Package volley sends a few probes, one after the other, and waits for the outcome of each. It is
// for collectors that block while they measure. It opens no sockets and draws no conclusions.
package volley

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// A Sender sends probes as netio's Stack does.
type Sender interface {
	Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer))
}

// A Shot is one probe and its outcome.
type Shot struct {
	Packet *netio.Packet
	// Accept, if set, reports whether a reply counts: what an IKE port sends back must be an IKE
	// message. It is called from another goroutine, with the payload. The network may keep it for
	// minutes, so it should not keep the packet.
	Accept func(a *netio.Answer) bool

	outcome *outcome
}

// An outcome is what a network keeps of a shot while answers may still come. The packet is not among
// it: it is large.
type outcome struct {
	accept func(a *netio.Answer) bool

	mu     sync.Mutex
	answer netio.Answer
}

// Answer returns the outcome so far. A late answer replaces silence, even after Fire has returned.
func (s *Shot) Answer() netio.Answer {
	if s.outcome == nil {
		return netio.Answer{}
	}
	s.outcome.mu.Lock()
	defer s.outcome.mu.Unlock()
	return s.outcome.answer
}

// hear keeps an answer, and reports whether it is the first. A reply that is not accepted counts as
// silence, because no other first answer will come.
func (o *outcome) hear(a *netio.Answer) (first bool) {
	kept := *a
	if a.Outcome == netio.Delivered && o.accept != nil && !o.accept(a) {
		kept = netio.Answer{Outcome: netio.Silent, Sent: a.Sent}
	}
	kept.Payload, kept.Wire = nil, nil // valid only during the call
	o.mu.Lock()
	defer o.mu.Unlock()
	first = o.answer.Outcome == 0
	if first || o.answer.Outcome == netio.Silent {
		o.answer = kept
	}
	return first
}

// Fire sends the shots, spacing apart, and returns when each is answered or has timed out. It
// returns the first error of a probe that did not leave this host, once the others have an outcome.
func Fire(ctx context.Context, to Sender, shots []*Shot, spacing, timeout time.Duration) error {
	decided := make(chan struct{}, len(shots))
	for i, s := range shots {
		if i > 0 {
			if err := Pause(ctx, spacing); err != nil {
				return err
			}
		}
		o := &outcome{accept: s.Accept}
		s.outcome = o
		to.Send(ctx, s.Packet, timeout, func(a netio.Answer) {
			if o.hear(&a) {
				decided <- struct{}{}
			}
		})
	}
	for range shots {
		select {
		case <-decided:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, s := range shots {
		if a := s.Answer(); a.Outcome == netio.NotSent {
			return a.Err
		}
	}
	return nil
}

// Pause waits for d, or until ctx is done, and then returns the cause.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
