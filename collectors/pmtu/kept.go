package pmtu

import (
	"net/netip"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// kept is a Result for as long as it is the newest. There are three for each of thousands of peers,
// and most have nothing to say but the size.
type kept struct {
	at                               time.Time
	duration, roundTrip              time.Duration
	form                             string
	bytes, link, packets, roundTrips int32
	method                           collectors.Method
	state                            search.State
	// whole is the Result where there is more to say, nil where there is not.
	whole *Result
}

func keep(r *Result) kept {
	k := kept{
		at: r.At, duration: r.Duration, roundTrip: r.RoundTrip, form: r.Form, method: r.Method, state: r.State,
		bytes: int32(r.Bytes), link: int32(r.LinkBytes), packets: int32(r.Packets), roundTrips: int32(r.LossSamples),
	}
	if !r.plain() {
		whole := *r
		k.whole = &whole
	}
	return k
}

// plain reports whether all is zero that kept has no room for.
func (r *Result) plain() bool {
	routers := r.PTBFrom.IsValid() || r.InexactFrom.IsValid() || r.LastHopPassed.IsValid() || r.FirstHopFailed.IsValid() ||
		r.SpokeFrom.IsValid()
	numbers := r.PTBReceived | r.PTBRejected | r.PTBMTU | r.Inexact | r.InexactMTU | r.ReplyFragment | r.ProvedPackets | r.SpokeMTU
	return !routers && numbers == 0 && r.Rejected == search.Rejected{} && r.Loss == 0 && !r.ReplyShort && !r.Unasked &&
		r.ProvedAt.IsZero() && r.SpokeUntil.IsZero() && len(r.LargerBy) == 0 && r.Reason == "" && r.Note == ""
}

func (k *kept) result() Result {
	if k.whole != nil {
		return *k.whole
	}
	return Result{
		Method: k.method, State: k.state, Bytes: int(k.bytes), LinkBytes: int(k.link), Packets: int(k.packets),
		Duration: k.duration, LossSamples: int(k.roundTrips), RoundTrip: k.roundTrip, Form: k.form, At: k.at,
	}
}

// known is a Snapshot for as long as it is the newest.
type known struct {
	results                []kept
	linkBytes, cachedBytes int
	blackHole, known       bool
	echoApart              bool
	changes, ptbs          uint64
	at                     time.Time
	reverse                *Reverse
	forward                *Forward
	hops                   []netip.Addr
	distance               int
	hopsAt                 time.Time
}

// of returns the newest result of a method, nil if there is none.
func (k *known) of(m collectors.Method) *kept {
	for i := range k.results {
		if k.results[i].method == m {
			return &k.results[i]
		}
	}
	return nil
}

// append appends the results.
func (k *known) append(to []Result) []Result {
	to = slices.Grow(to, len(k.results))
	for i := range k.results {
		to = append(to, k.results[i].result())
	}
	return to
}

// snapshot returns what is known, with the results appended to a slice.
func (k *known) snapshot(to []Result) Snapshot {
	s := Snapshot{
		Results: k.append(to), LinkBytes: k.linkBytes, CachedBytes: k.cachedBytes, BlackHole: k.blackHole, Known: k.known, EchoApart: k.echoApart,
		Changes: k.changes, PTBs: k.ptbs, At: k.at, Hops: k.hops, Distance: k.distance, HopsAt: k.hopsAt,
	}
	if k.reverse != nil {
		s.Reverse = *k.reverse
	}
	if k.forward != nil {
		s.Forward = *k.forward
	}
	return s
}
