package gateways

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/slab"
	"ipsec_path_exporter/internal/untrusted"
)

// The families of this package. Their labels are complete, except that the labels of a configured
// peer are added to all that carry `peer`.
var (
	familyUp = collectors.GaugeFamily("ipsec_path_gateway_up",
		"1 if the gateway's table of SAs was read, 0 if it could not be: all other series of the gateway are then absent.", "gateway")
	familyInfo = collectors.GaugeFamily("ipsec_path_gateway_info",
		"1; the labels say what the gateway is.", "gateway", "type", "version")
	familyDuration = collectors.GaugeFamily("ipsec_path_gateway_read_duration_seconds",
		"How long the last attempt to read the gateway took.", "gateway")
	familyUnparsed = collectors.GaugeFamily("ipsec_path_gateway_unparsed_lines",
		"Lines of the gateway's last output that were not understood; tunnels that they may concern are unknown.", "gateway")
	familyIKESAs = collectors.GaugeFamily("ipsec_path_ike_sas",
		"IKE SAs by IKE version and class of their state; only counts above 0.", "gateway", "peer", "version", "state")
	familyVendor = collectors.GaugeFamily("ipsec_path_ike_sas_vendor_state",
		"IKE SAs by the gateway's own word for their state; only counts above 0.", "gateway", "peer", "vendor_state")
	familyChildSAs = collectors.GaugeFamily("ipsec_path_child_sas",
		"Child (IPsec) SAs by class of their state; only counts above 0.", "gateway", "peer", "state")
	familyTunnelUp = collectors.GaugeFamily("ipsec_path_tunnel_up",
		"1 if an IKE SA is established and a child SA installed, 0 if not, absent if unknown; for peers that are expected at the gateway.", "gateway", "peer")
	familyBytes = collectors.CounterFamily("ipsec_path_sa_bytes_total",
		"Bytes through the SAs of the peer; goes on over rekeys and new SAs.", "gateway", "peer", "direction")
	familyPackets = collectors.CounterFamily("ipsec_path_sa_packets_total",
		"Packets through the SAs of the peer; goes on over rekeys and new SAs.", "gateway", "peer", "direction")
	familyLost = collectors.CounterFamily("ipsec_path_sa_lost_packets_total",
		"Packets that the peer sent through its SAs and that did not arrive, by the sequence numbers of ESP and AH; goes on over rekeys.", "gateway", "peer")
	familySAErrors = collectors.CounterFamily("ipsec_path_sa_receive_errors_total",
		"Packets of the peer that arrived and that the SA did not accept, by kind of error; goes on over rekeys.", "gateway", "peer", "kind")
	familyPathMTU = collectors.GaugeFamily("ipsec_path_gateway_path_mtu_bytes",
		"Path MTU that the gateway uses: it builds its packets for this size.", "gateway", "peer")
	familyEstablished = collectors.GaugeFamily("ipsec_path_ike_sa_established_timestamp_seconds",
		"When the newest established IKE SA was established, in seconds since the epoch.", "gateway", "peer")
	familyUps = collectors.CounterFamily("ipsec_path_tunnel_ups_total",
		"How often the tunnel came up while the gateway was watched.", "gateway", "peer")
	familyDowns = collectors.CounterFamily("ipsec_path_tunnel_downs_total",
		"How often the tunnel went down while the gateway was watched.", "gateway", "peer")
	familyErrors = collectors.CounterFamily("ipsec_path_gateway_errors_total",
		"The gateway's own counters of errors, of fragments and of path MTU messages, by kind.", "gateway", "kind")
	// A device counts sessions of other kinds too, not only SAs.
	familySessions = collectors.GaugeFamily("ipsec_path_gateway_sessions",
		"Active VPN sessions as the gateway itself counts them, by its own kinds; some kinds are part of others.", "gateway", "kind")
)

// Families are all families of this package.
func Families() []*collectors.Family {
	return []*collectors.Family{
		familyUp, familyInfo, familyDuration, familyUnparsed, familyIKESAs, familyVendor, familyChildSAs, familyTunnelUp, familyBytes,
		familyPackets, familyPathMTU, familyEstablished, familyUps, familyDowns, familyErrors, familySessions,
		familyLost, familySAErrors,
	}
}

// Metrics makes the series of gateways. They come and go with SAs, states and peers, so they are made
// once for each reading, not for each scrape, and kept as values beside label pairs that they share:
// a page lends an encoder the messages for some of them at a time. It does no I/O.
type Metrics struct {
	pollers func() []*Poller

	mu   sync.Mutex
	made map[*Poller]*made
}

// NewMetrics returns the series of the running pollers, whose names are distinct.
func NewMetrics(pollers func() []*Poller) *Metrics { return &Metrics{pollers: pollers} }

// made holds the series of a gateway at a revision. It is not changed any more.
type made struct {
	revision revision
	lines    map[*collectors.Family][]line
}

// A line is one series.
type line struct {
	labels []*dto.LabelPair // sorted by name
	value  float64
}

// A Page is what is known of all gateways at one time. One goroutine may read it.
type Page struct {
	families []*collectors.Family // sorted by name
	gateways []*made
	slab     *slab.Slab
}

// Open returns a page, which must be closed.
func (m *Metrics) Open() *Page {
	p := &Page{families: Families(), slab: slab.Get()}
	slices.SortFunc(p.families, func(a, b *collectors.Family) int { return strings.Compare(a.Name, b.Name) })
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.made
	m.made = make(map[*Poller]*made, len(before))
	for _, g := range m.pollers() {
		one, now := before[g], g.latest.revision()
		if one == nil || one.revision != now {
			s := g.Snapshot()
			one = &made{now, linesOf(&s)}
		}
		m.made[g] = one
		p.gateways = append(p.gateways, one)
	}
	return p
}

// Close ends the reading: nothing that the page has lent may be used any more.
func (p *Page) Close() { slab.Put(p.slab) }

// Len returns the number of families, some of which may have no series.
func (p *Page) Len() int { return len(p.families) }

// Name returns the name of a family. They are sorted by name.
func (p *Page) Name(i int) string { return p.families[i].Name }

// Parts returns a family in parts of at most this number of series, none if it has no series. A part
// is lent until the next one, and may be changed except for labels. Series are in the order of the
// gateways, then of their peers.
func (p *Page) Parts(i, size int) iter.Seq[*dto.MetricFamily] {
	f := p.families[i]
	head := dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: f.Kind.Type()}
	return func(yield func(*dto.MetricFamily) bool) {
		p.slab.Reset()
		for _, g := range p.gateways {
			lines := g.lines[f]
			for k := range lines {
				p.add(f.Kind, &lines[k])
				if p.slab.Len() == size {
					if !yield(p.slab.Family(&head)) {
						return
					}
					p.slab.Reset()
				}
			}
		}
		if p.slab.Len() > 0 {
			yield(p.slab.Family(&head))
		}
	}
}

func (p *Page) add(k collectors.Kind, l *line) {
	if k == collectors.Counter {
		p.slab.Counter(&l.value).Label = l.labels
	} else {
		p.slab.Gauge(&l.value).Label = l.labels
	}
}

// linesOf makes the series of a gateway.
func linesOf(s *Snapshot) map[*collectors.Family][]line {
	g := series{
		lines: make(map[*collectors.Family][]line), pairs: make(map[[2]string]*dto.LabelPair), names: make(map[string]*string),
	}
	if !s.Attempted {
		return g.lines
	}
	g.base = []*dto.LabelPair{g.pair("gateway", s.Gateway)}
	g.set(familyUp, collectors.Bool(s.Up))
	g.set(familyDuration, s.Duration.Seconds())
	if !s.Up {
		return g.lines
	}
	g.set(familyInfo, 1, "type", untrusted.Word(s.Info.Type, maxWord), "version", untrusted.Word(s.Info.Version, maxWord))
	g.set(familyUnparsed, float64(s.Unparsed))
	for _, kind := range slices.Sorted(maps.Keys(s.Device)) {
		g.set(familyErrors, float64(s.Device[kind]), "kind", kind)
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Sessions)) {
		g.set(familySessions, float64(s.Sessions[kind]), "kind", kind)
	}
	gateway := g.base
	for i := range s.Peers {
		p := &s.Peers[i]
		g.base = slices.Clone(gateway)
		if p.Of != nil {
			for name, value := range p.Of.Labels {
				g.base = append(g.base, g.newPair(name, value)) // most differ from peer to peer
			}
		}
		g.base = append(g.base, g.newPair("peer", p.Peer))
		slices.SortFunc(g.base, byName)
		g.peer(p)
	}
	return g.lines
}

// series makes the series of one gateway.
type series struct {
	lines map[*collectors.Family][]line
	pairs map[[2]string]*dto.LabelPair // those that many series share
	names map[string]*string
	base  []*dto.LabelPair // of the gateway or of one of its peers
}

func (g *series) peer(p *PeerSnapshot) {
	classes := slices.SortedFunc(maps.Keys(p.IKE), func(a, b IKEClass) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.State, b.State))
	})
	for _, c := range classes {
		version := "unknown"
		if c.Version > 0 {
			version = strconv.Itoa(c.Version)
		}
		g.set(familyIKESAs, float64(p.IKE[c]), "version", version, "state", c.State.String())
	}
	for _, word := range slices.Sorted(maps.Keys(p.Vendor)) {
		g.set(familyVendor, float64(p.Vendor[word]), "vendor_state", word)
	}
	for _, state := range slices.Sorted(maps.Keys(p.Children)) {
		g.set(familyChildSAs, float64(p.Children[state]), "state", state.String())
	}
	if p.Of != nil && p.Of.Expected && p.Up != Unknown {
		g.set(familyTunnelUp, collectors.Bool(p.Up == Yes))
	}
	g.traffic("in", &p.In)
	g.traffic("out", &p.Out)
	if p.Lost.Known {
		g.set(familyLost, float64(p.Lost.Value))
	}
	for kind, n := range p.Errors {
		if n.Known {
			g.set(familySAErrors, float64(n.Value), "kind", ErrorKind(kind).String())
		}
	}
	if p.Peer != Unmatched {
		g.tunnel(p)
	}
}

func (g *series) traffic(direction string, t *Traffic) {
	if t.Bytes.Known {
		g.set(familyBytes, float64(t.Bytes.Value), "direction", direction)
	}
	if t.Packets.Known {
		g.set(familyPackets, float64(t.Packets.Value), "direction", direction)
	}
}

// tunnel makes the series that make sense for one tunnel only, not for many.
func (g *series) tunnel(p *PeerSnapshot) {
	if p.PathMTU > 0 {
		g.set(familyPathMTU, float64(p.PathMTU))
	}
	if !p.Established.IsZero() {
		g.set(familyEstablished, float64(p.Established.Unix()))
	}
	if p.Flaps {
		g.set(familyUps, float64(p.Ups))
		g.set(familyDowns, float64(p.Downs))
	}
}

// set makes one series. more are names and values of its labels besides those of the base.
func (g *series) set(f *collectors.Family, v float64, more ...string) {
	labels := g.base
	if len(more) > 0 {
		labels = make([]*dto.LabelPair, len(g.base), len(g.base)+len(more)/2)
		copy(labels, g.base)
		for i := 0; i < len(more); i += 2 {
			labels = append(labels, g.pair(more[i], more[i+1]))
		}
		slices.SortFunc(labels, byName)
	}
	g.lines[f] = append(g.lines[f], line{labels, v})
}

// pair returns the one label pair with this content.
func (g *series) pair(name, value string) *dto.LabelPair {
	key := [2]string{name, value}
	if g.pairs[key] == nil {
		g.pairs[key] = g.newPair(name, value)
	}
	return g.pairs[key]
}

// Prometheus would refuse a whole page for one value that is not UTF-8.
func (g *series) newPair(name, value string) *dto.LabelPair {
	if g.names[name] == nil {
		g.names[name] = &name
	}
	return &dto.LabelPair{Name: g.names[name], Value: new(strings.ToValidUTF8(value, "\uFFFD"))}
}

func byName(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }
