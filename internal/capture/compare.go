package capture

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// margin is how long before the other capture's end a packet must be sent to be missed there.
	margin = tolerance
	// minLost and lostShare are how much loss without any pattern is a fault.
	minLost   = 3
	lostShare = 50
	// minPattern is how many must be lost for a pattern.
	minPattern = 2
)

// A Comparison is the result for two captures of the same traffic.
type Comparison struct {
	// A and B are the names of the captures.
	A string `json:"a"`
	B string `json:"b"`
	// Common counts the datagrams in both captures; without any, there is no conclusion.
	Common int `json:"datagrams_in_both"`
	// ClockOffset is how far B's clock is ahead of A's, in seconds. Exact reports that it was
	// computed from packets of both directions; otherwise it includes the transit time.
	ClockOffset float64 `json:"clock_offset_seconds"`
	Exact       bool    `json:"clock_offset_by_both_directions"`
	// From and To are the time in which both captures ran, by A's clock. Of ESP and AH only what
	// came until TrafficTo was kept.
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	TrafficTo time.Time `json:"to_of_traffic"`
	// Translated are addresses that are others at B, by NAT: at B, and at A.
	Translated map[string]string `json:"translated,omitempty"`
	Directions []*Crossing       `json:"directions"`
	Findings   []Finding         `json:"findings"`
}

// A Crossing is the outcome of one direction's datagrams between the two captures.
type Crossing struct {
	// Src and Dst are the addresses as A sees them.
	Src netip.Addr `json:"src"`
	Dst netip.Addr `json:"dst"`
	// Sender and Receiver are the captures nearer to them, empty if unknown.
	Sender   string `json:"sender_capture"`
	Receiver string `json:"receiver_capture"`
	// Sent, Whole, Part and Lost count datagrams: in the sender's capture, and of these in the
	// receiver's as much, less, nothing.
	Sent  int `json:"sent"`
	Whole int `json:"arrived"`
	Part  int `json:"arrived_in_part"`
	Lost  int `json:"lost"`
	// Unsent counts the datagrams in the receiver's capture only.
	Unsent int `json:"in_receiver_capture_only"`
	// Kinds counts the same per kind.
	Kinds []KindCrossing `json:"kinds"`

	sent, part, lost []*record
}

// KindCrossing is a Crossing of one kind.
type KindCrossing struct {
	Kind string `json:"kind"`
	Sent int    `json:"sent"`
	Part int    `json:"arrived_in_part"`
	Lost int    `json:"lost"`
}

// Compare looks for datagrams that are in one capture and not in the other.
func Compare(a, b *Analysis) *Comparison {
	c := &Comparison{A: a.Name, B: b.Name, Directions: []*Crossing{}, Findings: []Finding{}}
	al := align(a, b)
	c.Common = al.common
	if al.common == 0 {
		c.Findings = append(c.Findings, Finding{Name: findUnmatched, Evidence: []string{spanOf(a), spanOf(b)}, Summary: "no packet is in both captures, so they cannot be compared: " +
			"they were taken at different times or of different peers, or nothing passes between the ends"})
		return c
	}
	c.ClockOffset, c.Exact = al.offset.Seconds(), al.exact
	if len(al.translated) > 0 {
		c.Translated = make(map[string]string)
		for at, of := range al.translated {
			c.Translated[at.String()] = of.String()
		}
	}
	c.From = later(a.First, b.First.Add(-al.offset))
	c.To = earlier(a.complete[signalling], b.complete[signalling].Add(-al.offset))
	c.TrafficTo = earlier(a.complete[traffic], b.complete[traffic].Add(-al.offset))
	c.cross(al)
	for _, d := range c.Directions {
		d.count()
		c.judge(d, a, b)
	}
	return c
}

func spanOf(a *Analysis) string {
	return fmt.Sprintf("%s: %s of a VPN from %s to %s", a.Name, packets(a.Related), a.First.Format(time.RFC3339Nano), a.Last.Format(time.RFC3339Nano))
}

// cross sorts the datagrams by direction and finds which capture is nearer to the sender.
func (c *Comparison) cross(al *alignment) {
	directions := make(map[[2]netip.Addr]*crossing)
	at := func(r *record) *crossing {
		k := [2]netip.Addr{r.src, r.dst}
		if directions[k] == nil {
			directions[k] = &crossing{}
		}
		return directions[k]
	}
	for i := range al.a {
		r := &al.a[i]
		if r.other == nil && !c.covers(r, r.at) {
			continue // the other capture did not run
		}
		x := at(r)
		x.a = append(x.a, r)
		if r.other != nil {
			x.compare(r)
		}
	}
	for i := range al.b {
		r := &al.b[i]
		if r.other != nil || c.covers(r, r.at.Add(-al.offset)) {
			x := at(r)
			x.b = append(x.b, r)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(directions), compareAddresses) {
		c.Directions = append(c.Directions, directions[k].crossing(k, directions[[2]netip.Addr{k[1], k[0]}], c))
	}
}

func compareAddresses(k, l [2]netip.Addr) int {
	return cmp.Or(k[0].Compare(l[0]), k[1].Compare(l[1]))
}

// covers reports whether a packet should be in both captures, at a time by A's clock.
func (c *Comparison) covers(r *record, t time.Time) bool {
	to := c.To
	if r.kind.class() == traffic {
		to = c.TrafficTo
	}
	return !t.Before(c.From) && !t.After(to.Add(-margin))
}

// crossing is one direction's datagrams in both captures.
type crossing struct {
	a, b []*record
	// votes above 0 mean that a is nearer to the sender, below 0 that b is.
	votes int
	// sameIDs reports that identifications do not change on the path.
	sameIDs bool
}

// compare reads a packet that is in both. The TTL only decreases (RFC 791, section 3.1).
func (x *crossing) compare(r *record) {
	x.sameIDs = x.sameIDs || r.id != 0 && r.id == r.other.id
	switch {
	case r.ttl > r.other.ttl:
		x.votes++
	case r.ttl < r.other.ttl:
		x.votes--
	}
}

// known leaves out what could not be found in the other capture even if it were there: it has only
// an identification, which the path changes.
func (x *crossing) known(all []*record) []*record {
	return slices.DeleteFunc(all, func(r *record) bool {
		return r.other == nil && r.content == 0 && (r.id == 0 || !x.sameIDs)
	})
}

func (x *crossing) crossing(k [2]netip.Addr, back *crossing, c *Comparison) *Crossing {
	votes := x.votes
	if votes == 0 && back != nil {
		votes = -back.votes
	}
	x.a, x.b = x.known(x.a), x.known(x.b)
	onlyA, onlyB := onlyHere(x.a), onlyHere(x.b)
	if votes == 0 {
		// No router is between the captures: what only one has, or has more of, was sent there.
		switch {
		case onlyB > 0 && onlyA == 0:
			votes = -1
		case onlyA > 0 && onlyB == 0 || less(x.a) > 0:
			votes = 1
		case less(x.b) > 0:
			votes = -1
		}
	}
	out := &Crossing{Src: k[0], Dst: k[1], Kinds: []KindCrossing{}, sent: x.a, Unsent: onlyB}
	switch {
	case votes > 0:
		out.Sender, out.Receiver = c.A, c.B
	case votes < 0:
		out.Sender, out.Receiver, out.sent, out.Unsent = c.B, c.A, x.b, onlyA
	}
	return out
}

func onlyHere(all []*record) (n int) {
	for _, r := range all {
		if r.other == nil {
			n++
		}
	}
	return n
}

// less counts datagrams of which the other capture has less.
func less(all []*record) (n int) {
	for _, r := range all {
		if r.other != nil && r.missing() > 0 {
			n++
		}
	}
	return n
}

// count counts the outcomes of the datagrams that were sent.
func (d *Crossing) count() {
	var per [kinds]KindCrossing
	for _, r := range d.sent {
		k := &per[r.kind]
		k.Sent++
		d.Sent++
		switch {
		case r.other == nil:
			k.Lost++
			d.lost = append(d.lost, r)
		case r.missing() > 0:
			k.Part++
			d.part = append(d.part, r)
		default:
			d.Whole++
		}
	}
	d.Part, d.Lost = len(d.part), len(d.lost)
	for k := range kinds {
		if per[k].Sent > 0 {
			per[k].Kind = k.String()
			d.Kinds = append(d.Kinds, per[k])
		}
	}
}
