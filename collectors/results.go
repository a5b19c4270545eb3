package collectors

import (
	"errors"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
	"ipsec_path_exporter/internal/wire/icmp"
)

// Why a measurement could not be made, as values of the label `reason`. Collectors may add their
// own.
const (
	// ReasonNotSent means that probes did not leave this host.
	ReasonNotSent = "not_sent"
	// ReasonQueueFull means that a full queue of this host dropped them.
	ReasonQueueFull = "queue_full"
	// ReasonLocalDrops means that this host dropped replies, or may have, while a probe waited for one.
	ReasonLocalDrops = "local_drops"
	// ReasonTunnel means that probes would have travelled inside a tunnel of this host.
	ReasonTunnel = "inside_tunnel"
	// ReasonRoute means that this host found no route for probes.
	ReasonRoute = "no_route"
	// ReasonBudget means that the address stays silent and has been sent enough.
	ReasonBudget = "silence_budget"
)

// NotSent returns the reason for an error of a probe that did not leave this host.
func NotSent(err error) (reason string) {
	switch {
	case errors.Is(err, netio.ErrQueueFull):
		return ReasonQueueFull
	case errors.Is(err, silence.ErrBudget):
		return ReasonBudget
	}
	return ReasonNotSent
}

// ErrLocalDrops means that this host dropped replies, or may have, so that silence says nothing about
// the path.
var ErrLocalDrops = errors.New("this host may have missed replies: a socket's receive buffer was full, or the program stood still")

// FreshIntervals is how many intervals a result holds: one lost round must not remove it.
const FreshIntervals = 3

// Fresh reports whether a result of the time at still holds at the time now, given the interval of
// its measurements. A result of the zero time was never measured and is not fresh. Without an
// interval, measurements are made on demand and never grow too old.
func Fresh(at, now time.Time, every time.Duration) bool {
	return !at.IsZero() && (every <= 0 || now.Sub(at) <= FreshIntervals*every)
}

// A PathError is an ICMP error that came instead of a reply. The zero value means that none came.
type PathError struct {
	Outcome netio.Outcome
	// Type and Code are the fields of the ICMP message, From is its sender.
	Type, Code uint8
	From       netip.Addr
	// Count is the number of such errors, of the same sender, type and code, that came in a row.
	Count int
}

// Note takes the ICMP error that an answer consists of.
func (e *PathError) Note(a *netio.Answer) {
	n := PathError{Outcome: a.Outcome, Type: a.Type, Code: a.Code, From: a.From, Count: e.Count}
	if n != *e {
		n.Count = 0
	}
	n.Count++
	*e = n
}

// Name returns the kind of the error as the metrics name it, empty where none came.
func (e *PathError) Name() string {
	if !e.From.IsValid() {
		return ""
	}
	return icmp.ErrorName(e.From.Is6() && !e.From.Is4In6(), e.Type, e.Code)
}
