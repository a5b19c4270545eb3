package gateways

import (
	"cmp"
	"maps"
	"time"
)

// forgetAfter is how long a counter that has disappeared is remembered. A counter that is missing
// in a reading or two and returns must not be counted again from 0.
const forgetAfter = 10 * time.Minute

// An Accumulator keeps counters growing while the SAs that they belong to come and go.
//
// The first value of a counter is added whole, because the counter started at 0 unseen; so is the
// value of one that shrank, because it restarted. Otherwise the growth is added. So totals start at
// what the device shows, and a counter in Prometheus continues over a restart of the exporter where
// the device's own does.
type Accumulator struct {
	flows  map[flowKey]counter
	totals map[totalKey]counter
}

// A flowKey names one counter at the device.
type flowKey struct {
	kind string // of a device counter, else ""
	key  string
	what quantity
}

type quantity uint8

const (
	packetsIn quantity = iota
	packetsOut
	bytesIn
	bytesOut
	lost
	device
	firstError // the first ErrorKind; the others follow
)

// counts calls add with each counter of a flow that is known.
func (f *Flow) counts(add func(quantity, uint64)) {
	for what, count := range [...]Count{packetsIn: f.In.Packets, packetsOut: f.Out.Packets, bytesIn: f.In.Bytes, bytesOut: f.Out.Bytes, lost: f.Lost} {
		if count.Known {
			add(quantity(what), count.Value)
		}
	}
	for kind, count := range f.Errors {
		if count.Known {
			add(firstError+quantity(kind), count.Value)
		}
	}
}

// A totalKey names one sum: of a peer, or of a kind of device counters.
type totalKey struct {
	of   string
	what quantity
}

// A counter is one at the device, or a sum of them.
type counter struct {
	value uint64
	seen  time.Time
}

// NewAccumulator makes an empty one, for one gateway.
func NewAccumulator() *Accumulator {
	return &Accumulator{flows: map[flowKey]counter{}, totals: map[totalKey]counter{}}
}

// Add adds what has passed since the reading before.
func (a *Accumulator) Add(r *Reading, now time.Time) {
	sums := map[flowKey]uint64{} // Two entries of the same key are one counter.
	owner := map[flowKey]string{}
	for i := range r.Peers {
		p := &r.Peers[i]
		for _, f := range p.flows {
			f.counts(func(what quantity, value uint64) {
				k := flowKey{key: f.Key, what: what}
				sums[k] += value
				owner[k] = p.Peer
			})
		}
	}
	for _, c := range r.Counters {
		k := flowKey{kind: c.Kind, key: c.Key, what: device}
		sums[k] += c.Value
		owner[k] = c.Kind
	}
	for k, value := range sums {
		before, remembered := a.flows[k]
		grown := value
		if value >= before.value {
			grown -= before.value
		}
		if remembered || value > 0 { // most counters of errors stay at 0
			a.flows[k] = counter{value, now}
		}
		of := totalKey{owner[k], k.what}
		a.totals[of] = counter{a.totals[of].value + grown, now}
	}
	a.forget(r, now)
}

func (c *ChildSA) counterKey() string {
	if key := cmp.Or(c.CounterKey, c.Key); key != "" {
		return key
	}
	return c.Peer.String() + " " + c.Name
}

// forget drops counters that have disappeared. The sums of configured peers and of the device
// remain, because their metrics must not restart. The sums of peers that are listed by address go
// with their SAs.
func (a *Accumulator) forget(r *Reading, now time.Time) {
	old := func(c counter) bool { return now.Sub(c.seen) > forgetAfter }
	maps.DeleteFunc(a.flows, func(_ flowKey, c counter) bool { return old(c) })
	maps.DeleteFunc(a.totals, func(k totalKey, c counter) bool {
		return old(c) && k.what != device && k.of != Unmatched && !r.knows(k.of)
	})
}

// Device returns the sums of the device's own counters, by kind.
func (a *Accumulator) Device() map[string]uint64 {
	out := map[string]uint64{}
	for k, t := range a.totals {
		if k.what == device {
			out[k.of] = t.value
		}
	}
	return out
}

// Traffic returns what has passed to and from a peer since the gateway is read.
func (a *Accumulator) Traffic(peer string) (in, out Traffic) {
	return Traffic{Packets: a.total(peer, packetsIn), Bytes: a.total(peer, bytesIn)},
		Traffic{Packets: a.total(peer, packetsOut), Bytes: a.total(peer, bytesOut)}
}

// Losses returns what of a peer's packets did not arrive, and what arrived and was not accepted.
func (a *Accumulator) Losses(peer string) (missing Count, errors Errors) {
	for kind := range errors {
		errors[kind] = a.total(peer, firstError+quantity(kind))
	}
	return a.total(peer, lost), errors
}

func (a *Accumulator) total(peer string, what quantity) Count {
	c, known := a.totals[totalKey{peer, what}]
	return Count{c.value, known}
}
