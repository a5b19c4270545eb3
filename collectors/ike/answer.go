package ike

import (
	"errors"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// A probe is the record of one packet that was sent, for its answer.
type probe struct {
	c          *Collector
	w          *walk
	generation uint64
	number     uint64 // of the round
	form       ikeprobe.Form
	token      netio.Token
	answered   bool
	unsent     error // why it did not leave this host
	departed   bool  // Send has returned
}

// onAnswer takes an answer to a probe.
func (p *probe) onAnswer(a netio.Answer) {
	p.c.mu.Lock()
	crawling := p.w.crawling
	p.take(&a)
	ended, reason := p.c.close()
	if crawling && !p.w.crawling { // answered, or not sent
		if ended = true; p.w.result.State == Unknown {
			reason = collectors.NotSent(p.w.fault)
		}
		p.c.endCrawl()
	}
	p.c.mu.Unlock()
	p.c.report(ended, reason)
}

// sent records that Send has returned, and when the next step is due. The caller holds the lock.
func (p *probe) sent(due time.Time) {
	w := p.w
	p.departed = true
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
		w.notSent(p.unsent)
	}
}

// take records an answer. The caller holds the lock.
func (p *probe) take(a *netio.Answer) {
	w := p.w
	current := p.generation == p.c.generation && p.number == w.number
	switch a.Outcome {
	case netio.Delivered:
		reply, err := ikeprobe.Classify(a.Payload, p.token, w.method == collectors.NATT)
		if err != nil || p.answered {
			return
		}
		p.answered = true // not a.Duplicate: a reflected probe may have come before the reply
		w.responses++
		if reply.Name == ikeprobe.NameSA && p.generation == p.c.generation {
			w.dialect.Drop(p.form)
		}
		// A late reply corrects Silent; a second reply to the form changes nothing.
		if current && (w.active || w.crawling || w.result.State != Responding) {
			p.c.opts.Once.Answered(p.roundTrip(a))
			w.replied(p.form, reply, p.roundTrip(a))
		}
	case netio.Refused, netio.TooBig, netio.Unreachable, netio.TimeExceeded:
		if !current {
			return
		}
		if w.refusal == nil {
			w.refusal = &collectors.PathError{}
		}
		w.refusal.Note(a)
		w.result.Error = w.refusal
		if a.Outcome == netio.Refused && (w.active || w.crawling) {
			w.settle(Refused)
		}
	case netio.NotSent, netio.TooBigLocally:
		p.unsent = a.Err
		if p.unsent == nil {
			p.unsent = errors.New(a.Outcome.String())
		}
		if current && p.departed { // this host reports late that it did not deliver the probe
			w.unknown(p.unsent)
			w.result.NotSent = true
		}
	case netio.Silent:
		// The plan has its own timeouts.
	}
}

// roundTrip returns 0 where the reply may belong to any of several identical probes.
func (p *probe) roundTrip(a *netio.Answer) time.Duration {
	if p.w.sent[p.form] > 1 {
		return 0
	}
	return a.RoundTrip
}
