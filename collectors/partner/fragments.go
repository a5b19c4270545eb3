package partner

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/session"
)

// Fragments of one direction alone, in matched pairs:
//
//	there: request in two fragments or whole ──▶, reply of the least size ◀──
//	back:  request of the least size ──▶, reply in two fragments or whole ◀──

// A FragmentState says whether IP fragments pass a direction. The zero value means that it is not
// known.
type FragmentState uint8

// The states.
const (
	FragmentsUnknown FragmentState = iota
	// FragmentsPass means that a packet in fragments arrived.
	FragmentsPass
	// FragmentsDropped means that none did, while whole ones of the same pairs did.
	FragmentsDropped
)

// String returns the state's label value.
func (s FragmentState) String() string { return enum.Name(s, "unknown", "pass", "dropped") }

const (
	// fragmentsEvery is how often fragments are looked at.
	fragmentsEvery = 5 * time.Minute
	// beyond is how much larger than the link a packet in two fragments is.
	beyond = 400
	// fragmentsLimit is how long a look may take.
	fragmentsLimit = 7 * time.Second
	// mostPairs bounds the pairs of a look. Above that much loss, fragments stay unknown.
	mostPairs = 30
)

// fragmentRule demands that loss alone explains a run of lost pairs once in ten thousand; a tested
// packet is lost if one of two fragments is.
func fragmentRule() matched.Rule {
	return matched.Rule{Alpha: 1e-4, PriorLost: 1, PriorSent: 5, Packets: 2, Least: 5}
}

// measureFragments looks at fragments in both directions. What the time does not suffice for is
// unknown.
func (s *sizing) measureFragments(life context.Context, link int) (there, back FragmentState, err error) {
	ctx, cancel := context.WithTimeout(life, fragmentsLimit)
	defer cancel()
	for i, out := range []*FragmentState{&there, &back} {
		s.back = i == 1
		*out, err = s.fragments(ctx, link+beyond-s.header)
		if err != nil && (life.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			return FragmentsUnknown, FragmentsUnknown, err
		}
	}
	return there, back, nil
}

// fragments sends pairs of a payload in fragments and one that is whole, until one in fragments is
// answered or the pairs are convincing.
func (s *sizing) fragments(ctx context.Context, size int) (FragmentState, error) {
	if size > session.MaxPacket {
		return FragmentsUnknown, nil
	}
	rule, seed := fragmentRule(), rand.Uint64() //nolint:gosec // an order, not a secret
	lost, answered := 0, 0
	for n := range mostPairs {
		if err := s.meet(ctx); err != nil {
			return FragmentsUnknown, err
		}
		pair := [2]session.Request{{Size: size, ReplySize: session.LeastPayload}, {ReplySize: session.LeastPayload}}
		if s.back {
			pair = [2]session.Request{{ReplySize: size, Pieces: true}, {ReplySize: session.LeastPayload}}
		}
		first := 0
		if matched.Heads(seed, uint64(n)) {
			first = 1
		}
		var numbers [2]uint32
		for _, i := range [2]int{first, 1 - first} {
			var err error
			if numbers[i], err = s.send(ctx, pair[i], false); err != nil {
				return FragmentsUnknown, err
			}
		}
		s.mu.Lock()
		wait := matched.Patience(s.slowest, matched.LeastPatience)
		s.mu.Unlock()
		if err := s.await(ctx, wait, func() bool { return s.answered(numbers[:]) || s.answered(numbers[:1]) }); err != nil {
			return FragmentsUnknown, err
		}
		switch s.pair(numbers) {
		case pairPasses:
			return FragmentsPass, nil
		case pairShort: // the link of the partner carries it in one piece
			return FragmentsUnknown, nil
		case pairMisses:
			answered++
		case pairLost:
			lost++
		}
		if rule.Convincing(lost+answered, answered, rule.Loss(lost, lost+answered)) {
			return FragmentsDropped, nil
		}
	}
	return FragmentsUnknown, nil
}

// A pairOutcome is what became of a pair.
type pairOutcome uint8

const (
	pairLost   pairOutcome = iota // the whole one was not answered either
	pairMisses                    // only the whole one was answered
	pairPasses                    // the one in fragments was answered
	pairShort                     // it was answered in one piece
)

// pair returns what became of a pair: the number of the one in fragments is first.
func (s *sizing) pair(numbers [2]uint32) pairOutcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	tested, ok := s.replies[numbers[0]]
	_, control := s.replies[numbers[1]]
	switch {
	case ok && tested.Short:
		return pairShort
	case ok:
		return pairPasses
	case control:
		return pairMisses
	}
	return pairLost
}

// listen begins a session for probes, and returns the function that ends it.
func (c *Collector) listen(s *sizing, keys session.Keys) (stop func()) {
	s.sender = session.NewSender(keys, uint16(1+rand.IntN(1<<16-1)), time.Now()) //nolint:gosec // a name, not a secret
	return c.opts.Hub.listen(netip.AddrPortFrom(s.path.Dst, c.opts.Port), s.receive, func() {})
}
