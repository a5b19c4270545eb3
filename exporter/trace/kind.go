package trace

import (
	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// A kind is a kind of exchange with memory of its own, so that exchanges of other kinds cannot push
// it out.
type kind uint8

// The kinds. What can show a fault, because it was not answered as on a healthy path, is never pushed
// out by what cannot.
const (
	echoRoutine kind = iota
	echoFault
	ikeRoutine
	ikeFault
	// searchRoutine and searchFault are probes of searches, comparisons and ladders: that packets pass
	// is as much a part of a proof as that others vanish.
	searchRoutine
	searchFault
	kinds
)

// wholeShare is the sum of the shares, which are the parts of the budget.
const wholeShare = 16

var shares = [kinds]int{
	echoRoutine: 2, echoFault: 2,
	ikeRoutine: 1, ikeFault: 2,
	searchRoutine: 3, searchFault: 6,
}

// kindOf returns the kind of an exchange by its purpose and its first answer.
func kindOf(e *Exchange) kind {
	k := searchRoutine
	switch e.Purpose {
	case collectors.PurposeEcho:
		k = echoRoutine
	case collectors.PurposeIKE:
		k = ikeRoutine
	}
	if e.Fault() {
		k++
	}
	return k
}

// Fault reports whether the outcome can show a fault of the path: anything other than an answer in
// time or a reason on this host.
func (e *Exchange) Fault() bool {
	return len(e.Answers) > 0 && fault(e.Answers[0].Outcome, e.Answers[0].LocalDrops)
}

func fault(o netio.Outcome, localDrops bool) bool {
	switch o {
	case netio.Delivered, netio.TooBigLocally, netio.NotSent:
		return false
	case netio.Silent:
		return !localDrops
	default:
		return true
	}
}
