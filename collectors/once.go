package collectors

import (
	"context"
	"sync"
	"time"

	"ipsec_path_exporter/internal/matched"
)

// Once is what differs while a person waits for one measurement of a peer: what may overlap does, and
// waits follow the round trip that answers have shown. It changes no rule about what is evidence. A
// schedule has none: the methods are for a nil Once too.
//
// The collectors of one peer share it. Its fields do not change while they measure.
type Once struct {
	// FlowSpacing is the time between requests by different flows where IKE messages are answered;
	// LargeFlowSpacing that between requests that the peer is not to receive, because they vanish.
	FlowSpacing, LargeFlowSpacing time.Duration
	// IKEWait is how long IKE waits for an answer until it sends another form, IKEGap the least time
	// between the beginnings of its rounds.
	IKEWait, IKEGap time.Duration
	// FirstHops is how long a ladder waits for its first answers, HopPairs the number of pairs that a
	// ladder of the path MTU sends before it waits, while nothing is lost.
	FirstHops time.Duration
	HopPairs  int
	// Sized, if set, is called when the searches for the path MTU have ended, before it is looked up
	// where larger packets vanish.
	Sized func()

	alone sync.Mutex // see EchoAlone

	mu         sync.Mutex
	roundTrip  time.Duration
	busy       chan struct{} // closed when no echo request is due any more; nil if none is
	decided    chan struct{} // closed when it is known which were answered; nil if that is known
	unanswered int
}

// NewOnce returns the pace of a measurement that a person waits for.
func NewOnce() *Once {
	return &Once{
		FlowSpacing: 100 * time.Millisecond, LargeFlowSpacing: 50 * time.Millisecond,
		IKEWait: 800 * time.Millisecond, IKEGap: 3 * time.Second,
		FirstHops: 500 * time.Millisecond, HopPairs: 9,
	}
}

// Answered takes the round trip of an answer.
func (o *Once) Answered(roundTrip time.Duration) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.roundTrip = max(o.roundTrip, roundTrip)
}

// RoundTrip returns the longest round trip so far, 0 if nothing was answered yet.
func (o *Once) RoundTrip() time.Duration {
	if o == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roundTrip
}

// Patience is how long a ladder waits for its first answers, 0 for its usual time: routers may be slower
// than the peer.
func (o *Once) Patience() time.Duration {
	if rtt := o.RoundTrip(); rtt > 0 {
		return max(o.FirstHops, matched.Patience(rtt, matched.LeastPatience))
	}
	return 0
}

// Pairs returns HopPairs, 0 for the usual number.
func (o *Once) Pairs() int {
	if o == nil {
		return 0
	}
	return o.HopPairs
}

// Echoing says that echo requests are sent whose loss counts: other echo requests would disturb them
// where the peer limits its rate.
func (o *Once) Echoing() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy == nil {
		o.busy = make(chan struct{})
	}
	if o.decided == nil {
		o.decided = make(chan struct{})
	}
}

// Echoed says that no more of them are sent, and how many of the last stayed unanswered in a row.
func (o *Once) Echoed(unanswered int) {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.unanswered = unanswered
	o.mu.Unlock()
	o.NotEchoing()
}

// NotEchoing says that no more of them are sent, whatever became of them.
func (o *Once) NotEchoing() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy != nil {
		close(o.busy)
		o.busy = nil
	}
}

// Decided says that no answer to them is awaited any more.
func (o *Once) Decided() {
	if o == nil {
		return
	}
	o.NotEchoing()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.decided != nil {
		close(o.decided)
		o.decided = nil
	}
}

// Quiet waits until no echo requests are sent whose loss counts, and returns how many of the last
// stayed unanswered in a row.
func (o *Once) Quiet(ctx context.Context) (unanswered int, err error) {
	return o.await(ctx, func() chan struct{} { return o.busy })
}

// Outcome waits until no answer is awaited any more, and returns how many of the last echo requests stayed
// unanswered in a row.
func (o *Once) Outcome(ctx context.Context) (unanswered int, err error) {
	return o.await(ctx, func() chan struct{} { return o.decided })
}

// await waits until a channel is closed, if there is one. until is called with the lock held.
func (o *Once) await(ctx context.Context, until func() chan struct{}) (unanswered int, err error) {
	if o == nil {
		return 0, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if done := until(); done != nil {
		o.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		o.mu.Lock()
	}
	if err != nil {
		return 0, err
	}
	return o.unanswered, nil
}

// EchoAlone waits until no other collector compares echo requests, and returns what ends that. Where the
// peer, or a router, limits the rate of replies, one would take what the other counts.
func (o *Once) EchoAlone() (end func()) {
	if o == nil {
		return func() {}
	}
	o.alone.Lock()
	return o.alone.Unlock
}
