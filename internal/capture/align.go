package capture

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// tolerance is how far the times of a packet in two captures may differ, by aligned clocks.
const tolerance = 2 * time.Second

// A key is what a datagram is known by in both captures, without what a NAT may have changed.
type key struct {
	src, dst netip.Addr
	protocol uint8
	id       uint32
	content  uint64
}

func (r *record) full() key { return key{r.src, r.dst, r.protocol, r.id, r.content} }

// byID matches datagrams of which only one capture has the start.
func (r *record) byID() (key, bool) { return key{r.src, r.dst, r.protocol, r.id, 0}, r.id != 0 }

// byContent matches packets whose identification was changed on the path.
func (r *record) byContent() (key, bool) {
	return key{r.src, r.dst, r.protocol, 0, r.content}, r.content != 0
}

// anywhere matches packets whose addresses were changed on the path.
func (r *record) anywhere() (key, bool) { return key{content: r.content}, r.content != 0 }

// An alignment is two captures of the same traffic, with their packets matched.
type alignment struct {
	a, b []record
	// offset is how far the clock of b is ahead of that of a; exact: by packets of both directions.
	offset time.Duration
	exact  bool
	common int
	// translated are the addresses of b that are others in a, by NAT.
	translated map[netip.Addr]netip.Addr
}

// align finds out which packets are in both captures.
func align(a, b *Analysis) *alignment {
	al := &alignment{a: prepared(a.records), b: prepared(b.records), translated: make(map[netip.Addr]netip.Addr)}
	al.translate()
	if !al.clocks() {
		return al
	}
	al.match(func(r *record) (key, bool) { return r.full(), r.id != 0 || r.content != 0 })
	al.match((*record).byID)
	al.match((*record).byContent)
	al.match(func(r *record) (key, bool) { return r.full(), true })
	for i := range al.a {
		if al.a[i].other != nil {
			al.common++
		}
	}
	return al
}

// prepared sorts the records, and leaves out the copies that a capture on "any" makes.
func prepared(records []record) []record {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(r, s record) int { return cmp.Or(r.at.Compare(s.at), r.number-s.number) })
	last := make(map[key]time.Time, len(records))
	return slices.DeleteFunc(records, func(r record) bool {
		if r.id == 0 && r.content == 0 {
			return false
		}
		before, is := last[r.full()]
		last[r.full()] = r.at
		return is && r.at.Sub(before) < duplicateWithin
	})
}

// unique returns the records that are the only ones with their key.
func unique(records []record, by func(*record) (key, bool)) map[key]*record {
	only := make(map[key]*record)
	for i := range records {
		r := &records[i]
		k, ok := by(r)
		if !ok {
			continue
		}
		if _, is := only[k]; is {
			r = nil // not the only one
		}
		only[k] = r
	}
	return only
}

// pairs calls f for every datagram that is in both captures, and in each only once.
func (al *alignment) pairs(by func(*record) (key, bool), f func(a, b *record)) {
	of := unique(al.b, by)
	for k, a := range unique(al.a, by) {
		if b := of[k]; a != nil && b != nil {
			f(a, b)
		}
	}
}

// translate gives the addresses of b the names that they have in a.
func (al *alignment) translate() {
	of := make(map[key]*record)
	for i := range al.b {
		if k, ok := al.b[i].anywhere(); ok && of[k] == nil {
			of[k] = &al.b[i]
		}
	}
	votes := make(map[[2]netip.Addr]int)
	for i := range al.a {
		if k, ok := al.a[i].anywhere(); ok && of[k] != nil {
			votes[[2]netip.Addr{of[k].src, al.a[i].src}]++
			votes[[2]netip.Addr{of[k].dst, al.a[i].dst}]++
		}
	}
	best := make(map[netip.Addr]int)
	for v, n := range votes {
		if n > best[v[0]] || n == best[v[0]] && v[1].Less(al.translated[v[0]]) {
			best[v[0]], al.translated[v[0]] = n, v[1]
		}
	}
	maps.DeleteFunc(al.translated, func(from, to netip.Addr) bool { return from == to })
	for i := range al.b {
		r := &al.b[i]
		if to, is := al.translated[r.src]; is {
			r.src = to
		}
		if to, is := al.translated[r.dst]; is {
			r.dst = to
		}
	}
}

// clocks estimates how far the clocks are apart, and reports whether that is possible. A packet
// from a to b seems to take its transit time plus the offset, one from b to a the offset minus its
// transit time: the offset is half way between the quickest of each, if both directions take the
// same time (as NTP assumes, RFC 5905, section 8).
func (al *alignment) clocks() bool {
	var all []time.Duration
	ways := make(map[[2]netip.Addr][]time.Duration)
	add := func(a, b *record) {
		d := b.at.Sub(a.at)
		all = append(all, d)
		ways[[2]netip.Addr{a.src, a.dst}] = append(ways[[2]netip.Addr{a.src, a.dst}], d)
	}
	al.pairs((*record).byID, add)
	al.pairs((*record).byContent, add)
	if len(all) == 0 {
		return false
	}
	al.offset = median(all)
	most := 0
	for way, there := range ways {
		back := ways[[2]netip.Addr{way[1], way[0]}]
		if len(back) == 0 || len(there)+len(back) <= most || median(there) < median(back) {
			continue
		}
		if mid := (slices.Min(there) + slices.Max(back)) / 2; (mid - al.offset).Abs() < tolerance {
			al.offset, al.exact, most = mid, true, len(there)+len(back)
		}
	}
	return true
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// match pairs the unmatched datagrams with the same key in both captures, in the order of time.
func (al *alignment) match(by func(*record) (key, bool)) {
	of := make(map[key][]*record)
	for i := range al.b {
		if r := &al.b[i]; r.other == nil {
			if k, ok := by(r); ok {
				of[k] = append(of[k], r)
			}
		}
	}
	for i := range al.a {
		r := &al.a[i]
		if k, ok := by(r); ok && r.other == nil {
			of[k] = al.take(r, of[k])
		}
	}
}

// take matches r with the first possible one of the candidates, which are in the order of time, and
// returns what is left for later records.
func (al *alignment) take(r *record, candidates []*record) []*record {
	for len(candidates) > 0 && candidates[0].at.Sub(r.at)-al.offset < -tolerance {
		candidates = candidates[1:]
	}
	for i, s := range candidates {
		switch apart := s.at.Sub(r.at) - al.offset; {
		case apart > tolerance:
			return candidates
		case r.content == s.content || r.content == 0 || s.content == 0:
			r.other, s.other = s, r
			return slices.Delete(candidates, i, i+1)
		}
	}
	return candidates
}
