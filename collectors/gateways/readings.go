package gateways

import (
	"slices"
	"time"
)

// Newest returns the newest observation, the zero Observation if there is none.
func (h *History) Newest() Observation {
	if len(h.Observations) == 0 {
		return Observation{}
	}
	return h.Observations[len(h.Observations)-1]
}

// Readings are what the remembered readings show of the tunnel, without readings that do not show
// whether it is up.
type Readings struct {
	// Known is their number. In Up of them the tunnel was up; in Negotiating of them it was not,
	// and an IKE SA was being negotiated.
	Known, Up, Negotiating int
	// Watched is the time from the first of them to the newest reading.
	Watched time.Duration
	// State and VendorState describe the newest negotiation.
	State       IKEState
	VendorState string
}

// Readings counts the remembered readings.
func (h *History) Readings() (r Readings) {
	newest := h.Newest().At
	for i := range h.Observations {
		o := &h.Observations[i]
		if o.Up == Unknown {
			continue
		}
		if r.Known++; r.Known == 1 {
			r.Watched = newest.Sub(o.At)
		}
		if o.Up == Yes {
			r.Up++
		} else if o.State.Negotiating() {
			r.Negotiating++
			r.State, r.VendorState = o.State, o.VendorState
		}
	}
	return r
}

// A Transfer is the number of packets that the SAs of a peer counted between two readings.
type Transfer struct {
	From, To time.Time
	In, Out  uint64
}

// Transfer returns what was counted up to the newest reading over the shortest time that is at
// least span, with a child in use at every reading: without a child nothing could come in. ok is
// false where the history shows no such time.
func (h *History) Transfer(span time.Duration) (t Transfer, ok bool) {
	newest := h.Newest()
	for i := range slices.Backward(h.Observations) {
		o := &h.Observations[i]
		if !o.ChildUp || !o.In.Known || !o.Out.Known {
			break
		}
		if newest.At.Sub(o.At) >= span {
			return Transfer{From: o.At, To: newest.At, In: newest.In.Value - o.In.Value, Out: newest.Out.Value - o.Out.Value}, true
		}
	}
	return Transfer{}, false
}
