package diagnosis

import (
	"slices"

	"ipsec_path_exporter/collectors"
)

// A partName names one part of a diagnosis.
type partName struct{ name, part string }

// numbers has the number of each part of each diagnosis.
var numbers = numberParts()

func numberParts() map[partName]uint {
	all := make(map[partName]uint)
	for i := range rules {
		r := &rules[i]
		if r.byMethod == nil {
			all[partName{name: r.name}] = uint(len(all))
			continue
		}
		for _, m := range collectors.Methods() {
			all[partName{r.name, m.String()}] = uint(len(all))
		}
	}
	return all
}

// A quiet remembers which parts of diagnoses are known not to hold, where nothing else is known of
// them: almost all parts of almost all peers. A bit takes the place of a condition.
type quiet struct {
	path     uint64
	gateways []quietGateway
}

type quietGateway struct {
	name string
	bits uint64
}

// of returns the bits of the path or of a gateway. It adds a gateway that has none yet.
func (q *quiet) of(gateway string) *uint64 {
	if gateway == "" {
		return &q.path
	}
	at := slices.IndexFunc(q.gateways, func(g quietGateway) bool { return g.name == gateway })
	if at < 0 {
		at = len(q.gateways)
		q.gateways = append(q.gateways, quietGateway{name: gateway})
	}
	return &q.gateways[at].bits
}

// has reports whether the part that a verdict is about is known not to hold.
func (q *quiet) has(v *Verdict) bool {
	n, ok := numbers[partName{v.Name, v.Part}]
	return ok && *q.of(v.Gateway)&(1<<n) != 0
}

// take replaces a condition that has nothing to say but that it is off. It reports whether it does.
func (q *quiet) take(c *condition) bool {
	n, ok := numbers[partName{c.diagnosis.Name, c.part}]
	if !ok || c.on || c.suspected || !c.pending.IsZero() {
		return false
	}
	if c.settled {
		*q.of(c.diagnosis.Gateway) |= 1 << n
	}
	return true
}
