package gateways

import (
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"ipsec_path_exporter/collectors"
)

// The families of this package. Their labels are complete, except that the labels of a configured peer are added to all that
// carry `peer`.
var (
	familyUp = &collectors.Family{
		Name:   "ipsec_path_gateway_up",
		Help:   "1 if the gateway's table of SAs was read, 0 if it could not be: all else about it is then absent.",
		Labels: []string{"gateway"},
	}
	familyInfo = &collectors.Family{
		Name:   "ipsec_path_gateway_info",
		Help:   "1; the labels say what the gateway is.",
		Labels: []string{"gateway", "type", "version"},
	}
	familyDuration = &collectors.Family{
		Name:   "ipsec_path_gateway_read_duration_seconds",
		Help:   "How long the last attempt to read the gateway took.",
		Labels: []string{"gateway"},
	}
	familyUnparsed = &collectors.Family{
		Name:   "ipsec_path_gateway_unparsed_lines",
		Help:   "Lines of the gateway's last output that were not understood; worth a bug report if they tell about SAs.",
		Labels: []string{"gateway"},
	}
	familyIKESAs = &collectors.Family{
		Name:   "ipsec_path_ike_sas",
		Help:   "IKE SAs by IKE version and class of their state; only counts above 0.",
		Labels: []string{"gateway", "peer", "version", "state"},
	}
	familyVendor = &collectors.Family{
		Name:   "ipsec_path_ike_sas_vendor_state",
		Help:   "IKE SAs by the gateway's own word for their state; only counts above 0.",
		Labels: []string{"gateway", "peer", "vendor_state"},
	}
	familyChildSAs = &collectors.Family{
		Name:   "ipsec_path_child_sas",
		Help:   "Child (IPsec) SAs by class of their state; only counts above 0.",
		Labels: []string{"gateway", "peer", "state"},
	}
	familyTunnelUp = &collectors.Family{
		Name:   "ipsec_path_tunnel_up",
		Help:   "1 if an IKE SA is established and a child SA installed, 0 if not; for peers that are expected at the gateway.",
		Labels: []string{"gateway", "peer"},
	}
	familyBytes = &collectors.Family{
		Name:   "ipsec_path_sa_bytes_total",
		Help:   "Bytes through the SAs of the peer; goes on over rekeys and new SAs.",
		Kind:   collectors.Counter,
		Labels: []string{"gateway", "peer", "direction"},
	}
	familyPackets = &collectors.Family{
		Name:   "ipsec_path_sa_packets_total",
		Help:   "Packets through the SAs of the peer; goes on over rekeys and new SAs.",
		Kind:   collectors.Counter,
		Labels: []string{"gateway", "peer", "direction"},
	}
	familyPathMTU = &collectors.Family{
		Name:   "ipsec_path_gateway_path_mtu_bytes",
		Help:   "Path MTU that the gateway itself believes and builds packets for.",
		Labels: []string{"gateway", "peer"},
	}
	familyEstablished = &collectors.Family{
		Name:   "ipsec_path_ike_sa_established_timestamp_seconds",
		Help:   "When the newest established IKE SA was established, in seconds since the epoch.",
		Labels: []string{"gateway", "peer"},
	}
	familyUps = &collectors.Family{
		Name:   "ipsec_path_tunnel_ups_total",
		Help:   "How often the tunnel came up while the gateway was watched.",
		Kind:   collectors.Counter,
		Labels: []string{"gateway", "peer"},
	}
	familyDowns = &collectors.Family{
		Name:   "ipsec_path_tunnel_downs_total",
		Help:   "How often the tunnel went down while the gateway was watched.",
		Kind:   collectors.Counter,
		Labels: []string{"gateway", "peer"},
	}
	familyErrors = &collectors.Family{
		Name:   "ipsec_path_gateway_errors_total",
		Help:   "The gateway's own counters of what goes wrong on the way, by kind.",
		Kind:   collectors.Counter,
		Labels: []string{"gateway", "kind"},
	}
)

// familySessions is apart from SAs: a device counts sessions of other kinds too.
var familySessions = &collectors.Family{
	Name:   "ipsec_path_gateway_sessions",
	Help:   "Active VPN sessions as the gateway itself counts them, by its own kinds; some kinds are part of others.",
	Labels: []string{"gateway", "kind"},
}

// The values of the label direction, as seen from the gateway.
const (
	directionIn  = "in"
	directionOut = "out"
)

// Directions returns the values of the label direction.
func Directions() []string { return []string{directionIn, directionOut} }

// Families are all families of this package.
func Families() []*collectors.Family {
	return []*collectors.Family{
		familyUp, familyInfo, familyDuration, familyUnparsed, familyIKESAs, familyVendor, familyChildSAs, familyTunnelUp, familyBytes,
		familyPackets, familyPathMTU, familyEstablished, familyUps, familyDowns, familyErrors,
		familySessions,
	}
}

// Metrics is a prometheus.Collector over gateways. Their series come and go with SAs, states and peers, so they are made anew for each
// reading, not for each scrape. It does no I/O.
type Metrics struct {
	pollers func() []*Poller

	mu   sync.Mutex
	made map[*Poller]*made
}

// made are the series of a gateway as it was at a revision.
type made struct {
	revision revision
	series   []prometheus.Metric
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes the collector. pollers returns those that run now, each with a name of its own.
func NewMetrics(pollers func() []*Poller) *Metrics { return &Metrics{pollers: pollers} }

// Describe implements prometheus.Collector. It describes nothing: the labels of a series depend on its peer.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.made
	m.made = make(map[*Poller]*made, len(before))
	for _, p := range m.pollers() {
		now := p.revision()
		one := before[p]
		if one == nil || one.revision != now {
			one = &made{revision: now}
			s := p.Snapshot()
			collect(&s, func(m prometheus.Metric) { one.series = append(one.series, m) })
		}
		m.made[p] = one
		for _, metric := range one.series {
			ch <- metric
		}
	}
}

// collect emits the series of one gateway.
func collect(s *Snapshot, emit func(prometheus.Metric)) {
	if !s.Attempted {
		return
	}
	g := series{emit: emit, gateway: s.Gateway}
	g.set(familyUp, boolean(s.Up))
	g.set(familyDuration, s.Duration.Seconds())
	if !s.Up {
		return
	}
	g.set(familyInfo, 1, s.Info.Type, tidy(s.Info.Version))
	g.set(familyUnparsed, float64(s.Unparsed))
	for _, kind := range slices.Sorted(maps.Keys(s.Device)) {
		g.set(familyErrors, float64(s.Device[kind]), kind)
	}
	for kind, n := range s.Sessions {
		g.set(familySessions, float64(n), kind)
	}
	for i := range s.Peers {
		g.peer(&s.Peers[i])
	}
}

// series emits those of one gateway.
type series struct {
	emit    func(prometheus.Metric)
	gateway string
	labels  prometheus.Labels // of the peer
}

func (g *series) peer(p *PeerSnapshot) {
	g.labels = nil
	if p.Of != nil {
		g.labels = p.Of.Labels
	}
	for c, n := range p.IKE {
		version := "unknown"
		if c.Version > 0 {
			version = strconv.Itoa(c.Version)
		}
		g.set(familyIKESAs, float64(n), p.Peer, version, c.State.String())
	}
	for word, n := range p.Vendor {
		g.set(familyVendor, float64(n), p.Peer, word)
	}
	for state, n := range p.Children {
		g.set(familyChildSAs, float64(n), p.Peer, state.String())
	}
	if p.Of != nil && p.Of.Expected && p.Up != Unknown {
		g.set(familyTunnelUp, boolean(p.Up == Yes), p.Peer)
	}
	for direction, t := range map[string]*Traffic{directionIn: &p.In, directionOut: &p.Out} {
		g.count(familyBytes, t.Bytes, p.Peer, direction)
		g.count(familyPackets, t.Packets, p.Peer, direction)
	}
	if p.Peer != Unmatched {
		g.tunnel(p)
	}
}

// tunnel emits what says something about one tunnel only, not about many.
func (g *series) tunnel(p *PeerSnapshot) {
	if p.PathMTU > 0 {
		g.set(familyPathMTU, float64(p.PathMTU), p.Peer)
	}
	if !p.Established.IsZero() {
		g.set(familyEstablished, float64(p.Established.Unix()), p.Peer)
	}
	if p.Flaps {
		g.set(familyUps, float64(p.Ups), p.Peer)
		g.set(familyDowns, float64(p.Downs), p.Peer)
	}
}

func (g *series) count(f *collectors.Family, c Count, labels ...string) {
	if c.Known {
		g.set(f, float64(c.Value), labels...)
	}
}

// set emits one series; labels belong to f.Labels after the first, which is the gateway.
func (g *series) set(f *collectors.Family, v float64, labels ...string) {
	kind := prometheus.GaugeValue
	if f.Kind == collectors.Counter {
		kind = prometheus.CounterValue
	}
	desc := prometheus.NewDesc(f.Name, f.Help, f.Labels, g.labels)
	g.emit(prometheus.MustNewConstMetric(desc, kind, v, append([]string{g.gateway}, labels...)...))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
