package gateways

import (
	"maps"
	"time"
)

// tunnels counts how often the tunnels of one gateway come up and go down: between readings, and
// where the gateway sends events, within them too.
type tunnels struct {
	of map[string]*tunnel
}

// A tunnel is everything between the gateway and one peer: it is up as long as one child of it is.
type tunnel struct {
	known, up  bool
	children   map[string]bool // keys of the children that are up
	ups, downs uint64
	lastEvent  time.Time // the last event
}

// read updates all tunnels by a reading that began at started. An event since then is newer than
// the reading; the next reading shows it. The first reading counts nothing, because the time of the
// change is unknown.
func (t *tunnels) read(r *Reading, started time.Time) {
	for i := range r.Peers {
		p := &r.Peers[i]
		if p.Of == nil || p.Up == Unknown {
			continue
		}
		u := t.tunnel(p.Peer)
		if u.known && !u.lastEvent.Before(started) {
			continue
		}
		u.children = map[string]bool{}
		for _, c := range p.children {
			if c.State.Up() && p.Up == Yes {
				u.children[c.Key] = true
			}
		}
		u.turn(p.Up == Yes)
	}
	for name := range r.configured {
		if r.NoIKE || r.Find(name) != nil || r.lost[name] || r.doubts.about(name) {
			continue
		}
		if u := t.tunnel(name); !u.known || u.lastEvent.Before(started) {
			u.children = map[string]bool{}
			u.turn(false)
		}
	}
	maps.DeleteFunc(t.of, func(name string, _ *tunnel) bool { return !r.knows(name) })
}

// event takes an event. Before the first reading its effect is unknown.
func (t *tunnels) event(e *Event, peers *Attribution) {
	p := peers.Find(e.Peer)
	if p == nil {
		return
	}
	u := t.of[p.Name]
	if u == nil || !u.known {
		return
	}
	u.lastEvent = e.When
	if e.Up {
		u.children[e.Key] = true
	} else {
		delete(u.children, e.Key)
	}
	u.turn(len(u.children) > 0)
}

func (t *tunnels) tunnel(peer string) *tunnel {
	u := t.of[peer]
	if u == nil {
		u = &tunnel{}
		t.of[peer] = u
	}
	return u
}

func (u *tunnel) turn(up bool) {
	if u.known && u.up != up {
		if up {
			u.ups++
		} else {
			u.downs++
		}
	}
	u.known, u.up = true, up
}
