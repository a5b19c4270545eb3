package gateways

import "time"

// forgetAfter is how long a counter that has gone is remembered: one that is missing in a reading or two and comes back has
// not passed everything again.
const forgetAfter = 10 * time.Minute

// An Accumulator keeps counters growing while the SAs that they belong to come and go.
//
// A counter that is seen for the first time began at 0 unseen: its whole value is added. One that shrank began again: the same.
// Otherwise what it grew by is added. So totals begin at what the device says, and a counter of Prometheus goes on over a
// restart of the exporter where the device's own do.
type Accumulator struct {
	flows  map[flowKey]*flow
	totals map[totalKey]*total
}

// A flowKey names one counter at the device.
type flowKey struct {
	kind string // of a device counter, else ""
	key  string
	what quantity
}

// quantity is what a counter of an SA counts.
type quantity uint8

const (
	packetsIn quantity = iota
	packetsOut
	bytesIn
	bytesOut
	device
)

// A flow is one counter at the device.
type flow struct {
	value uint64
	seen  time.Time
}

// A totalKey names one sum: of a peer, or of a kind of device counters.
type totalKey struct {
	of   string
	what quantity
}

// A total is one sum.
type total struct {
	value uint64
	seen  time.Time
}

// NewAccumulator makes an empty one, for one gateway.
func NewAccumulator() *Accumulator {
	return &Accumulator{flows: map[flowKey]*flow{}, totals: map[totalKey]*total{}}
}

// Add adds what has passed since the reading before.
func (a *Accumulator) Add(r *Reading, now time.Time) {
	sums := map[flowKey]uint64{} // Two entries of the same key are one counter.
	owner := map[flowKey]string{}
	for i := range r.Peers {
		p := &r.Peers[i]
		for _, f := range p.flows {
			for what, count := range [...]Count{packetsIn: f.In.Packets, packetsOut: f.Out.Packets, bytesIn: f.In.Bytes, bytesOut: f.Out.Bytes} {
				if count.Known {
					k := flowKey{key: f.Key, what: quantity(what)}
					sums[k] += count.Value
					owner[k] = p.Peer
				}
			}
		}
	}
	for _, c := range r.Counters {
		k := flowKey{kind: c.Kind, key: c.Key, what: device}
		sums[k] += c.Value
		owner[k] = c.Kind
	}
	for k, value := range sums {
		a.total(totalKey{owner[k], k.what}, now).value += a.grown(k, value, now)
	}
	a.forget(r, now)
}

// grown is by how much a counter grew.
func (a *Accumulator) grown(k flowKey, value uint64, now time.Time) uint64 {
	f := a.flows[k]
	if f == nil {
		f = &flow{}
		a.flows[k] = f
	}
	before := f.value
	f.value, f.seen = value, now
	if value < before {
		return value
	}
	return value - before
}

// counterKey is what the counters of a child belong to.
func (c *ChildSA) counterKey() string {
	switch {
	case c.CounterKey != "":
		return c.CounterKey
	case c.Key != "":
		return c.Key
	}
	return c.Peer.String() + " " + c.Name
}

// total finds or makes one sum.
func (a *Accumulator) total(k totalKey, now time.Time) *total {
	t := a.totals[k]
	if t == nil {
		t = &total{}
		a.totals[k] = t
	}
	t.seen = now
	return t
}

// forget drops what has gone for good. The sums of configured peers and of the device stay: their counters must not begin
// again. Those of peers that are listed by address go with their SAs.
func (a *Accumulator) forget(r *Reading, now time.Time) {
	for k, f := range a.flows {
		if now.Sub(f.seen) > forgetAfter {
			delete(a.flows, k)
		}
	}
	for k, t := range a.totals {
		if k.what == device || now.Sub(t.seen) <= forgetAfter {
			continue
		}
		if !r.knows(k.of) && k.of != Unmatched {
			delete(a.totals, k)
		}
	}
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
	get := func(what quantity) Count {
		if t := a.totals[totalKey{peer, what}]; t != nil {
			return Counted(t.value)
		}
		return Count{}
	}
	return Traffic{Packets: get(packetsIn), Bytes: get(bytesIn)}, Traffic{Packets: get(packetsOut), Bytes: get(bytesOut)}
}
