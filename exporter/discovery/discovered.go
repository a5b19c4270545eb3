package discovery

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/resolve"
)

const (
	// keepFor is how long a peer is still measured after its gateway stopped showing it: where only
	// the kernel is asked, a peer disappears in the moment in which its tunnel fails.
	keepFor = 15 * time.Minute
	// maxDiscovered bounds how many peers are measured without being listed in the configuration.
	maxDiscovered = 500
)

// gatewayPeers are the peers that one gateway has reported.
type gatewayPeers struct {
	asked time.Time
	// answered means that it has ever answered, some that it has ever had a peer; err is why the
	// last request failed.
	answered, some bool
	err            error
	// logged is the problem that was logged last.
	logged string
	peers  []seenPeer
	names  map[string]lookup
}

// A seenPeer is a peer as a gateway reported it last.
type seenPeer struct {
	gateways.Found
	// first is when it was first reported, gone when it was first missing; zero if reported.
	first, gone time.Time
}

// A lookup is the result of a DNS look-up.
type lookup struct {
	at        time.Time
	addresses []netip.Addr
}

// note takes an answer. A failed request leaves the peers as they are.
func (t *gatewayPeers) note(found []gateways.Found, err error, now time.Time) {
	t.asked, t.err = now, err
	if err != nil {
		return
	}
	t.answered, t.some = true, t.some || len(found) > 0
	before := t.peers
	t.peers = make([]seenPeer, 0, len(found))
	for _, f := range found {
		f.Host = strings.ToLower(strings.TrimSuffix(f.Host, "."))
		s := seenPeer{Found: f, first: now}
		if i := slices.IndexFunc(before, s.same); i >= 0 {
			s.first = before[i].first
			if !s.Active && before[i].Local.IsValid() { // the source of its last tunnel is more certain than the configured one
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

// same reports whether s and o are the same peer.
func (s seenPeer) same(o seenPeer) bool { return s.Address == o.Address && s.Host == o.Host }

// unresolved returns the names to look up.
func (t *gatewayPeers) unresolved(now time.Time) []string {
	if t == nil {
		return nil
	}
	var hosts []string
	for i := range t.peers {
		h := t.peers[i].Host
		if h != "" && now.Sub(t.names[h].at) >= resolve.Interval && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// resolved notes the addresses of a name.
func (t *gatewayPeers) resolved(host string, addresses []netip.Addr, now time.Time) {
	if t.names == nil {
		t.names = make(map[string]lookup)
	}
	l := lookup{at: now}
	for _, a := range addresses {
		l.addresses = append(l.addresses, a.Unmap().WithZone(""))
	}
	t.names[host] = l
}

// A source is a gateway and the peers that it has reported; nil if it was not asked yet.
type source struct {
	gateway *config.Gateway
	*gatewayPeers
}

// A candidate is a peer that may be added to the configuration.
type candidate struct {
	name      string // its name as it is configured at the gateways, or its address
	addresses []netip.Addr
	local     netip.Addr
	gateways  []string // where an SA with it is expected
	sources   []string // the gateways that report it
	first     time.Time
}

// add adds the peers that the gateways have reported.
func (d *Discovery) add(cfg *config.Config, sources []source) {
	all := d.merge(sources)
	if left := max(0, len(all)-maxDiscovered); left != d.capped {
		if d.capped = left; left > 0 {
			d.log.Warn("too many discovered peers; list peers in the configuration to measure more", "measured", maxDiscovered, "left_out", left)
		}
	}
	// The oldest peers come first, so that the set is the same each time.
	slices.SortFunc(all, func(a, b *candidate) int { return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.name, b.name)) })
	all = all[:min(len(all), maxDiscovered)]
	slices.SortFunc(all, func(a, b *candidate) int { return cmp.Compare(a.name, b.name) })
	pinned, listed := make(map[string]netip.Addr), make(map[string][]string)
	for _, c := range all {
		source := d.sourceOf(c)
		if source.IsValid() {
			pinned[c.name] = source
		}
		if err := cfg.Discovered(c.name, source, c.gateways); err != nil {
			d.log.Debug("discovered peer cannot be measured", "err", err)
			continue
		}
		for _, g := range c.sources {
			listed[g] = append(listed[g], c.name)
		}
	}
	d.pinned = pinned
	d.logListed(sources, listed)
}

// merge combines what several gateways report about the same peer. A peer that any gateway has by
// name is known by that name only. The kernel's peers count only where no daemon answers, because
// the kernel does not know which of them are configured and which are clients.
//
// A peer's SA is not expected in the kernel, which does not know whether a tunnel is up.
func (d *Discovery) merge(sources []source) []*candidate {
	sources = slices.DeleteFunc(sources, func(s source) bool { return s.gatewayPeers == nil })
	daemons := slices.ContainsFunc(sources, func(s source) bool { return s.gateway.Type != config.XFRM && s.answered })
	names := make(map[netip.Addr]string)
	for _, from := range sources {
		from.nameAddresses(names)
	}
	all := make(map[string]*candidate)
	for _, from := range sources {
		if from.gateway.Type == config.XFRM && daemons {
			continue
		}
		for i := range from.peers {
			s := &from.peers[i]
			addresses := from.names[s.Host].addresses
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
			c.seen(from.gateway, s, addresses)
		}
	}
	return slices.Collect(maps.Values(all))
}

// nameAddresses notes the name of each address. Of several names the alphabetically first is taken.
func (t *gatewayPeers) nameAddresses(names map[netip.Addr]string) {
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

// isOwn reports whether an address belongs to this host.
func (d *Discovery) isOwn(a netip.Addr) bool { return a.IsLoopback() || d.own[a] }

// seen adds what one gateway reports.
func (c *candidate) seen(g *config.Gateway, s *seenPeer, addresses []netip.Addr) {
	if s.first.Before(c.first) {
		c.first = s.first
	}
	if !c.local.IsValid() || s.Active {
		c.local = cmp.Or(s.Local, c.local)
	}
	c.addresses = append(c.addresses, addresses...)
	if !slices.Contains(c.sources, g.Name) {
		c.sources = append(c.sources, g.Name)
	}
	if g.Type != config.XFRM && !slices.Contains(c.gateways, g.Name) {
		c.gateways = append(c.gateways, g.Name)
	}
}

// sourceOf returns the address that a peer has to be measured from, not valid if routing chooses it
// anyway. With a tunnel for all traffic, routing prefers the address inside the tunnel, but the
// tunnel's own packets have another source. A source that was chosen once stays, so that a tunnel
// that comes and goes does not restart the measurement.
func (d *Discovery) sourceOf(c *candidate) netip.Addr {
	local := c.local
	if !local.IsValid() || !d.own[local] {
		return netip.Addr{}
	}
	if d.pinned[c.name] == local {
		return local
	}
	for _, a := range c.addresses {
		if a.Is4() == local.Is4() {
			if routed := d.Host.Source(a); routed.IsValid() && routed != local {
				return local
			}
		}
	}
	return netip.Addr{}
}
