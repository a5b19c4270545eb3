package exporter

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
)

const (
	// keepFor is how long a peer goes on to be measured that its gateway does not show any more: where the kernel alone tells, a peer is gone
	// in the very moment in which its tunnel fails.
	keepFor = 15 * time.Minute
	// maxDiscovered bounds how many peers are taken without anybody having listed them.
	maxDiscovered = 500
)

// A tale is what one gateway told about its peers.
type tale struct {
	asked time.Time
	// answered says that it has ever answered, some that it has ever had a peer; err is why it did not answer the last time.
	answered, some bool
	err            error
	// complaint is the problem that was logged last.
	complaint string
	peers     []sighting
	names     map[string]lookup
}

// A sighting is a peer as it was shown last.
type sighting struct {
	gateways.Found
	// first is when it was shown first, gone when it was not shown any more; the zero time while it is shown.
	first, gone time.Time
}

// A lookup is what became of a name.
type lookup struct {
	at        time.Time
	addresses []netip.Addr
}

// note takes an answer. One that could not be had changes nothing about the peers.
func (t *tale) note(found []gateways.Found, err error, now time.Time) {
	t.asked, t.err = now, err
	if err != nil {
		return
	}
	t.answered, t.some = true, t.some || len(found) > 0
	before := t.peers
	t.peers = make([]sighting, 0, len(found))
	for _, f := range found {
		f.Host = strings.ToLower(strings.TrimSuffix(f.Host, "."))
		s := sighting{Found: f, first: now}
		if i := slices.IndexFunc(before, s.same); i >= 0 {
			s.first = before[i].first
			if !s.Active && before[i].Local.IsValid() { // where its tunnel went from is surer than what is configured
				s.Local = before[i].Local
			}
		}
		t.peers = append(t.peers, s)
	}
	for _, s := range before {
		if s.gone.IsZero() {
			s.gone = now
		}
		if !slices.ContainsFunc(t.peers, s.same) && now.Sub(s.gone) < keepFor {
			t.peers = append(t.peers, s)
		}
	}
}

// same tells whether two are of the same peer.
func (s sighting) same(o sighting) bool { return s.Address == o.Address && s.Host == o.Host }

// unresolved are the names to look up.
func (t *tale) unresolved(now time.Time) []string {
	if t == nil {
		return nil
	}
	var hosts []string
	for i := range t.peers {
		h := t.peers[i].Host
		if h != "" && now.Sub(t.names[h].at) >= resolveInterval && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// resolved notes the addresses of a name.
func (t *tale) resolved(host string, addresses []netip.Addr, now time.Time) {
	if t.names == nil {
		t.names = make(map[string]lookup)
	}
	l := lookup{at: now}
	for _, a := range addresses {
		l.addresses = append(l.addresses, a.Unmap().WithZone(""))
	}
	t.names[host] = l
}

// A teller is a gateway and its tale, which is nil if it was not asked yet.
type teller struct {
	gateway *config.Gateway
	tale    *tale
}

// A candidate is a peer before it is taken.
type candidate struct {
	name      string // its name as it is configured at the gateways, or its address
	addresses []netip.Addr
	local     netip.Addr
	gateways  []string // where an SA with it is expected
	first     time.Time
}

// add adds the peers that the gateways told about.
func (d *discovery) add(cfg *config.Config, telling []teller) {
	all := d.merge(telling)
	if left := max(0, len(all)-maxDiscovered); left != d.capped {
		if d.capped = left; left > 0 {
			d.log.Warn("there are more peers than are taken without being listed in the configuration", "taken", maxDiscovered, "left_out", left)
		}
	}
	// Those that are measured already stay; so the set is the same each time.
	slices.SortFunc(all, func(a, b *candidate) int { return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.name, b.name)) })
	all = all[:min(len(all), maxDiscovered)]
	slices.SortFunc(all, func(a, b *candidate) int { return cmp.Compare(a.name, b.name) })
	pinned := make(map[string]netip.Addr)
	for _, c := range all {
		source := d.sourceOf(c)
		if source.IsValid() {
			pinned[c.name] = source
		}
		if err := cfg.Discovered(c.name, source, c.gateways); err != nil {
			d.log.Debug("a peer of a gateway cannot be measured", "err", err)
		}
	}
	d.pinned = pinned
}

// merge puts together what several gateways tell about the same peer. One that is configured by its name somewhere is known by that name
// only. The kernel is believed where no daemon tells its peers: it does not know which of them are configured, and who merely connects.
//
// A peer's SA is not expected in the kernel, which cannot tell whether a tunnel is up.
func (d *discovery) merge(telling []teller) []*candidate {
	telling = slices.DeleteFunc(telling, func(t teller) bool { return t.tale == nil })
	daemons := slices.ContainsFunc(telling, func(t teller) bool { return t.gateway.Type != config.XFRM && t.tale.answered })
	names := make(map[netip.Addr]string)
	for _, t := range telling {
		t.tale.nameAddresses(names)
	}
	all := make(map[string]*candidate)
	for _, t := range telling {
		if t.gateway.Type == config.XFRM && daemons {
			continue
		}
		for i := range t.tale.peers {
			s := &t.tale.peers[i]
			addresses := t.tale.names[s.Host].addresses
			if s.Address.IsValid() {
				addresses = append(slices.Clip(addresses), s.Address)
			}
			name := cmp.Or(s.Host, names[s.Address])
			if name == "" {
				name = s.Address.String()
			}
			if slices.ContainsFunc(addresses, d.isOwn) {
				continue
			}
			c := all[name]
			if c == nil {
				c = &candidate{name: name, first: s.first}
				all[name] = c
			}
			c.seen(t.gateway, s, addresses)
		}
	}
	return slices.Collect(maps.Values(all))
}

// nameAddresses notes whose addresses are those of names. Of several names the first one in the alphabet has it.
func (t *tale) nameAddresses(names map[netip.Addr]string) {
	note := func(a netip.Addr, host string) {
		if before, known := names[a]; !known || host < before {
			names[a] = host
		}
	}
	for i := range t.peers {
		s := &t.peers[i]
		if s.Host == "" {
			continue
		}
		if s.Address.IsValid() {
			note(s.Address, s.Host)
		}
		for _, a := range t.names[s.Host].addresses {
			note(a, s.Host)
		}
	}
}

// isOwn tells whether an address is one of this host's.
func (d *discovery) isOwn(a netip.Addr) bool { return a.IsLoopback() || d.own[a] }

// seen adds what one gateway shows.
func (c *candidate) seen(g *config.Gateway, s *sighting, addresses []netip.Addr) {
	if s.first.Before(c.first) {
		c.first = s.first
	}
	if !c.local.IsValid() || s.Active {
		c.local = cmp.Or(s.Local, c.local)
	}
	c.addresses = append(c.addresses, addresses...)
	if g.Type != config.XFRM && !slices.Contains(c.gateways, g.Name) {
		c.gateways = append(c.gateways, g.Name)
	}
}

// sourceOf is the address that a peer has to be measured from, not valid if that is the one that routing chooses anyway. With a tunnel
// for everything, routing prefers the address inside: the tunnel's own packets have another one. What was once chosen stays, so that a
// tunnel that comes and goes does not begin the measurement anew.
func (d *discovery) sourceOf(c *candidate) netip.Addr {
	local := c.local
	if !local.IsValid() || !d.own[local] {
		return netip.Addr{}
	}
	if d.pinned[c.name] == local {
		return local
	}
	for _, a := range c.addresses {
		if a.Is4() == local.Is4() {
			if routed := d.source(a); routed.IsValid() && routed != local {
				return local
			}
		}
	}
	return netip.Addr{}
}
