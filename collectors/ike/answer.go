package ike

import (
	"errors"
	"time"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// A probe is one packet that was sent, as its answer finds it.
type probe struct {
	c          *Collector
	w          *walk
	generation uint64
	number     uint64 // of the round
	form       ikeprobe.Form
	spi        [8]byte
	marker     bool
	answered   bool
	unsent     error // why it did not leave this host
}

// onAnswer takes what became of a probe.
func (p *probe) onAnswer(a netio.Answer) {
	p.c.mu.Lock()
	p.take(&a)
	ended, reason := p.c.close()
	p.c.mu.Unlock()
	p.c.report(ended, reason)
}

// booked notes that Send has returned, and when the next step is due. Under the lock.
func (p *probe) booked(due time.Time) {
	w := p.w
	if p.unsent == nil {
		w.requests++
	}
	if p.generation != p.c.generation || p.number != w.number {
		return
	}
	w.due = due
	if p.unsent == nil {
		w.unsent = 0
		return
	}
	w.sent[p.form]--
	if w.active {
		w.kept(p.unsent)
	}
}

// take books an answer. Under the lock.
func (p *probe) take(a *netio.Answer) {
	w := p.w
	current := p.generation == p.c.generation && p.number == w.number
	switch a.Outcome {
	case netio.Delivered:
		reply, err := ikeprobe.Classify(a.Payload, p.spi, p.marker)
		if err != nil || p.answered {
			return
		}
		p.answered = true // not Duplicate: a reflected probe may have come before the reply
		w.responses++
		if reply.Name == ikeprobe.NameSA && p.generation == p.c.generation {
			w.dialect.Drop(p.form)
		}
		// A late reply flips a verdict of silence; another reply to a form after the first changes nothing.
		if current && (w.active || w.result.State != Responding) {
			w.replied(p.form, reply, p.roundTrip(a))
		}
	case netio.Refused:
		if current {
			w.result.Error = pathError(a)
			if w.active {
				w.refused()
			}
		}
	case netio.TooBig, netio.Unreachable, netio.TimeExceeded:
		if current {
			w.result.Error = pathError(a)
		}
	case netio.NotSent, netio.TooBigLocally:
		p.unsent = a.Err
		if p.unsent == nil {
			p.unsent = errors.New(a.Outcome.String())
		}
	case netio.Silent:
		// The plan keeps its own time.
	}
}

// roundTrip is 0 where the reply may answer one of several identical probes.
func (p *probe) roundTrip(a *netio.Answer) time.Duration {
	if p.w.sent[p.form] > 1 {
		return 0
	}
	return a.RoundTrip
}

func pathError(a *netio.Answer) PathError {
	return PathError{Outcome: a.Outcome, Type: a.Type, Code: a.Code, From: a.From}
}
