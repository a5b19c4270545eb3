// Package subject measures one path: it holds the collectors of one peer, what they found, the
// diagnoses that follow, and the recommendation for a tunnel over the path.
//
//	config.Peer ──New──▶ Subject ◀── Instruments (sockets), gateways
//	                       │ Findings ──Tracker─▶ diagnoses
//	                       └──────────Report──▶ a report for people and for the provider
//
// A running peer of the exporter, one of its controls, and a one-shot check each have a Subject.
// The package does not schedule, and it keeps no series and no history.
package subject

import (
	"context"
	"net/netip"
	"sync"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/netio"
)

// Deps are what a Subject needs from the program.
type Deps struct {
	*Instruments
	// Network sends the probes: the sockets of the Instruments, or what watches them.
	Network collectors.Network
	// Gateways returns the gateways that are read, whose tables may show the peer.
	Gateways func() []*gateways.Poller
	// Buckets, Searched and Done are passed on to the collectors; see suite.Deps.
	Buckets  icmp.Buckets
	Searched func(pmtu.Result)
	Done     func(c suite.Collector, reason string)
	// Once, if set, is the pace of a Subject that is measured once, while a person waits.
	Once *collectors.Once
	// Apart, if set, keeps the probes apart from those of another Subject of the same peer: its IKE
	// messages have initiator SPIs of their own.
	Apart string
}

// A Subject is one path under measurement. It is safe for concurrent use.
type Subject struct {
	// Config is the configuration that the collectors were made for. It does not change.
	Config *config.Peer
	*suite.Collectors
	// Tracker remembers which diagnoses hold.
	Tracker diagnosis.Tracker
	deps    Deps

	mu     sync.Mutex
	target collectors.Shared[collectors.Target] // without an address until it is known
	memory diagnosis.Memory
	// apart are the methods whose probes took another way than IKE when the facts were asked for.
	apart []collectors.Method
}

// New makes the Subject of a peer. ctx ends what its collectors wait for.
func New(ctx context.Context, cfg *config.Peer, deps Deps) *Subject {
	return build(ctx, cfg, deps, deps.methods(), true)
}

// NewControl makes the Subject of an address that is expected to be well: it is measured by echo
// alone, because no gateway answers IKE there. No peer has a name with a slash.
func NewControl(ctx context.Context, addr netip.Addr, deps Deps) *Subject {
	cfg := &config.Peer{Name: "control/" + addr.String(), Address: addr.String(), Addr: addr, Settings: config.Defaults()}
	cfg.Collectors = suite.NewSet(suite.ICMP)
	if deps.rawSockets() {
		cfg.Collectors = cfg.Collectors.With(suite.PMTU)
	}
	return build(ctx, cfg, deps, []collectors.Method{collectors.ICMP}, false)
}

func build(ctx context.Context, cfg *config.Peer, deps Deps, methods []collectors.Method, locate bool) *Subject {
	target := collectors.Target{
		Peer: deps.Apart + cfg.Name,
		Path: netio.Path{Dst: cfg.Addr, Src: cfg.SourceAddress, Interface: cfg.Interface, Mark: cfg.Mark},
		IKE:  cfg.IKE,
	}
	s := &Subject{Config: cfg, deps: deps, target: collectors.Share(target)}
	s.Collectors = suite.New(ctx, target, &suite.Deps{
		Network: deps.Network, Echoes: deps.engine(deps.Network), Router: deps.Stack, Silence: deps.Stack.Silence(), Keys: deps.keys, Accounts: deps.Accounts,
		Buckets: deps.Buckets, Enabled: cfg.Collectors, Every: cfg.Intervals, Raise: cfg.PMTURaise,
		Inside: cfg.Inside, OpenInside: deps.inside, Partner: deps.partner(cfg.Partner),
		Methods: methods, Locate: locate, Once: deps.Once, Searched: deps.Searched, Done: deps.Done,
	})
	return s
}

// Target returns what is measured now.
func (s *Subject) Target() collectors.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target.Get()
}

// Route returns the route of this host to an address in place of the measured one.
func (s *Subject) Route(to netip.Addr) (netio.Route, error) {
	path := s.Target().Path
	path.Dst = to
	return s.deps.Stack.Route(path)
}

// SetAddress points the collectors at an address. Where another one was measured before, what was
// known of that one is forgotten.
func (s *Subject) SetAddress(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.target.Get()
	moved := t.Path.Dst.IsValid() && t.Path.Dst != addr
	t.Path.Dst = addr
	s.target = collectors.Share(t)
	s.SetTarget(t) // first: the collectors have to forget before the memory does
	if moved {
		s.memory = diagnosis.Memory{}
	}
}

// TakeFreshFlow measures with another source port and echo identifier from now on, because those in
// use are stuck. What is known of the path with them is forgotten.
func (s *Subject) TakeFreshFlow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.target.Get()
	t.Path.Flow = flows.Next(t.Path.Flow)
	s.target = collectors.Share(t)
	s.SetTarget(t)
}

// Facts returns what the rules of the diagnoses judge: fresh findings about the way that IKE takes,
// what is remembered of earlier ones, and what the gateways show. The caller adds what it knows of
// the vantage point.
func (s *Subject) Facts(f *suite.Findings) diagnosis.Facts {
	others := apart(s.ways(s.Target()))
	together := f.OneWay(others)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apart = others
	s.memory.Note(&together)
	return diagnosis.Facts{Findings: together, Memory: s.memory, Address: s.target.Get().Path.Dst, Apart: others, Gateways: s.histories(nil)}
}

// histories appends what the gateways show about the peer. A gateway that could not be read
// recently has a history without readings: nothing is known of it, and what held still holds.
func (s *Subject) histories(out []diagnosis.Gateway) []diagnosis.Gateway {
	for _, g := range s.deps.Gateways() {
		if h, ok := g.History(s.Config.Name); ok {
			out = append(out, diagnosis.Gateway{Name: g.Name(), History: h})
		}
	}
	return out
}
