// Package volley sends a few probes, one after the other, and waits until it is known what became of each. It is what collectors are
// made of that block while they measure. It opens no sockets and draws no conclusions.
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

// A Shot is one probe and what became of it.
type Shot struct {
	Packet *netio.Packet
	// Accept, if set, tells whether a reply is one: what comes back from an IKE port must be an IKE message. It is called from another
	// goroutine, with the payload.
	Accept func(a *netio.Answer) bool

	mu     sync.Mutex
	answer netio.Answer
}

// Answer is what is known of the probe now. A late answer takes the place of silence, also after Fire has returned.
func (s *Shot) Answer() netio.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer
}

// hear keeps an answer, and tells whether it is the first. A reply that is none is as good as silence: no other first answer will come.
func (s *Shot) hear(a *netio.Answer) (first bool) {
	kept := *a
	if a.Outcome == netio.Delivered && s.Accept != nil && !s.Accept(a) {
		kept = netio.Answer{Outcome: netio.Silent, Sent: a.Sent}
	}
	kept.Payload, kept.Wire = nil, nil // valid only during the call
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.answer.Outcome == 0
	if first || s.answer.Outcome == netio.Silent {
		s.answer = kept
	}
	return first
}

// Fire sends the shots, spacing apart, and returns when each is answered or its time is over. It returns the first error of a probe that
// did not leave this host, once it is known what became of the others.
func Fire(ctx context.Context, to Sender, shots []*Shot, spacing, timeout time.Duration) error {
	decided := make(chan struct{}, len(shots))
	for i, s := range shots {
		if i > 0 {
			if err := Pause(ctx, spacing); err != nil {
				return err
			}
		}
		to.Send(ctx, s.Packet, timeout, func(a netio.Answer) {
			if s.hear(&a) {
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

// Pause waits.
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
