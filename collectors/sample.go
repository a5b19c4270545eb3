package collectors

import (
	"time"

	"ipsec_path_exporter/internal/matched"
)

// A Sample is a number of successive requests, each of which was answered or lost on the way.
// Requests that were not sent, or refused by an ICMP error, are neither.
type Sample struct {
	Sent, Lost int
	// Since is when the first of them was sent.
	Since time.Time
}

// Share returns the lost share, 0 if nothing was sent.
func (s Sample) Share() float64 {
	if s.Sent == 0 {
		return 0
	}
	return float64(s.Lost) / float64(s.Sent)
}

// Plus returns both samples as one, which is as old as the older.
func (s Sample) Plus(o Sample) Sample {
	if s.Sent == 0 || o.Sent > 0 && o.Since.Before(s.Since) {
		s.Since = o.Since
	}
	s.Sent, s.Lost = s.Sent+o.Sent, s.Lost+o.Lost
	return s
}

// A Sampler puts requests into samples of one size, which have no request in common: so the loss of
// one can confirm the loss of the one before.
type Sampler struct {
	// Size is the number of requests of a sample.
	Size int
	// Current has the requests after the last complete sample, Last is that sample.
	Current, Last Sample
}

// Add counts a request that was sent at this time.
func (s *Sampler) Add(at time.Time, lost bool) {
	if s.Current.Sent == 0 {
		s.Current.Since = at
	}
	s.Current.Sent++
	if lost {
		s.Current.Lost++
	}
	if s.Current.Sent >= s.Size {
		s.Last, s.Current = s.Current, Sample{}
	}
}

// Answered takes back that a request was lost: its answer came late.
func (s *Sampler) Answered(at time.Time) {
	if in := s.of(at); in != nil {
		in.Lost--
	}
}

// NotSent takes back a request that was counted as lost: it never left this host.
func (s *Sampler) NotSent(at time.Time) {
	if in := s.of(at); in != nil {
		in.Sent, in.Lost = in.Sent-1, in.Lost-1
	}
}

// of returns the sample that has a lost request of this time, nil if there is none.
func (s *Sampler) of(at time.Time) *Sample {
	for _, in := range [...]*Sample{&s.Current, &s.Last} {
		if in.Sent > 0 && !at.Before(in.Since) {
			if in.Lost > 0 {
				return in
			}
			return nil
		}
	}
	return nil
}

// Forget discards the samples: the path is another one.
func (s *Sampler) Forget() { s.Current, s.Last = Sample{}, Sample{} }

// Loss is heavy from heavyShare on: more than one round trip in ten. IKE and DPD retransmit below it;
// a path that loses 5 % in each direction (9.75 % of the round trips) is below it, too.
const (
	heavyShare = 0.1
	// byChance is the accepted probability that a sample of a path at heavyShare is taken for heavy.
	// A second sample confirms it, so both are, once in a million pairs.
	byChance = 0.001
)

// Heavy reports whether more than one request in ten is lost, beyond chance: 15 of 60, 12 of 40, 10
// of 30, 8 of 20.
func (s Sample) Heavy() bool { return matched.Exceeds(s.Lost, s.Sent, heavyShare, byChance) }

// Light reports whether one request in ten is lost, or fewer. A sample may be neither heavy nor light.
func (s Sample) Light() bool { return s.Sent > 0 && s.Share() <= heavyShare }
