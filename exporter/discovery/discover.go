// Package discovery takes the peers of a configuration that names none from the gateways of this
// host: strongSwan, Libreswan, or the kernel.
package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/strongswan"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/internal/netio"
)

const (
	// Every is how often the gateways are asked for their peers.
	Every = 30 * time.Second
	// EveryWaiting is how often they are asked while there is no peer yet.
	EveryWaiting = 5 * time.Second
	// Timeout is how long they have to answer.
	Timeout = 10 * time.Second
)

// A Discovery remembers what the gateways of this host have shown.
//
//	Look: asks all gateways side by side ──▶ gatewayPeers ──▶ Known: a configuration with peers
type Discovery struct {
	// Host is the machine that the gateways run on.
	Host Host
	log  *slog.Logger
	// local are the gateways to look for where none is configured.
	local []config.Gateway

	mu   sync.Mutex
	seen map[config.Gateway]*gatewayPeers
	own  map[netip.Addr]bool
	// pinned are the peers that are measured from the source of their tunnels, because routing
	// would choose another address.
	pinned map[string]netip.Addr
	// capped is how many peers were left out when that was logged last.
	capped int
	// listed are the peers that each gateway gave, by its name, as they were logged last.
	listed map[string][]string
}

// A Host is what a Discovery asks other than the gateways themselves.
type Host struct {
	// Open makes what asks a gateway.
	Open     func(*config.Gateway) (gateways.Source, error)
	Resolver resolve.Resolver
	Now      func() time.Time
	// Addresses lists the addresses of this host; Source is the one that routing chooses.
	Addresses func() ([]net.Addr, error)
	Source    func(remote netip.Addr) netip.Addr
}

// New makes a Discovery that has asked no gateway of this host yet.
func New(log *slog.Logger) *Discovery {
	d := &Discovery{
		log: log, seen: make(map[config.Gateway]*gatewayPeers), pinned: make(map[string]netip.Addr),
		Host: Host{Open: open, Resolver: net.DefaultResolver, Now: time.Now, Addresses: net.InterfaceAddrs, Source: routedSource()},
	}
	for _, g := range []config.Gateway{
		{Type: config.StrongSwan, Socket: strongswan.DefaultSocket},
		{Type: config.Libreswan, Socket: libreswan.DefaultSocket},
		{Type: config.XFRM},
	} {
		g.Name, g.Interval, g.Timeout = g.Type.String(), config.DefaultGatewayInterval, Timeout
		d.local = append(d.local, g)
	}
	return d
}

// routedSource asks the kernel, which is opened when it is needed first. The address is not valid
// where the kernel cannot be asked.
func routedSource() func(netip.Addr) netip.Addr {
	routes := sync.OnceValue(func() *netio.KernelRoutes {
		b, err := netio.NewKernelRoutes()
		if err != nil {
			return nil
		}
		return b
	})
	return func(remote netip.Addr) netip.Addr {
		if b := routes(); b != nil {
			return b.Source(remote)
		}
		return netip.Addr{}
	}
}

// discovers reports whether a gateway of this type can list its peers.
func discovers(t config.GatewayType) bool {
	return t == config.StrongSwan || t == config.Libreswan || t == config.XFRM
}

// candidates returns the configured gateways, or else the gateways that may be on this host.
func (d *Discovery) candidates(cfg *config.Config) (all []config.Gateway, configured bool) {
	for i := range cfg.Gateways {
		if discovers(cfg.Gateways[i].Type) {
			all = append(all, cfg.Gateways[i])
		}
	}
	if len(all) > 0 {
		return all, true
	}
	return d.local, false
}

// Complete adds to a configuration without peers the peers of its gateways, or else of the gateways
// that are found on this host. It fails where there is neither.
func (d *Discovery) Complete(ctx context.Context, cfg *config.Config) (*config.Config, error) {
	d.Look(ctx, cfg, 0)
	out := d.Known(cfg)
	if len(out.Gateways) == 0 {
		return nil, d.NotFound(cfg)
	}
	return out, nil
}

// Look asks the gateways side by side, except those whose answers are younger than fresh.
func (d *Discovery) Look(ctx context.Context, cfg *config.Config, fresh time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	d.lookAtHost()
	candidates, _ := d.candidates(cfg)
	var asked sync.WaitGroup
	for i := range candidates {
		g := &candidates[i]
		if d.isFresh(g, fresh) {
			continue
		}
		// It is opened here, in the network namespace of the caller.
		source, err := d.Host.Open(g)
		if err != nil {
			d.answered(ctx, g, nil, err)
			continue
		}
		asked.Go(func() {
			found, err := discover(ctx, source)
			d.answered(ctx, g, found, err)
			d.resolve(ctx, g)
		})
	}
	asked.Wait()
}

// lookAtHost learns the addresses of this host, none of which is a peer. Where they cannot be read,
// the last ones stay.
func (d *Discovery) lookAtHost() {
	list, err := d.Host.Addresses()
	if err != nil {
		d.log.Debug("reading the addresses of this host failed", "err", err)
		return
	}
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap().WithZone("")] = true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own = own
}

func (d *Discovery) isFresh(g *config.Gateway, fresh time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.seen[*g]
	return t != nil && d.Host.Now().Sub(t.asked) < fresh
}

// open makes what asks a gateway of this host.
func open(g *config.Gateway) (gateways.Source, error) {
	if path := strings.TrimPrefix(g.Socket, "unix://"); strings.HasPrefix(path, "/") {
		if _, err := os.Stat(path); err != nil {
			return nil, err // before a program is started to find that out
		}
	}
	return readers.NewSource(g, nil)
}

func discover(ctx context.Context, source gateways.Source) ([]gateways.Found, error) {
	d, ok := source.(gateways.Discoverer)
	if !ok {
		return nil, errors.Join(errors.New("it does not list its peers"), source.Close())
	}
	found, err := d.Discover(ctx)
	return found, errors.Join(err, source.Close())
}

// answered notes what a gateway answered.
func (d *Discovery) answered(ctx context.Context, g *config.Gateway, found []gateways.Found, err error) {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // the program ends, or the client that asked for a reload is gone
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.seen[*g]
	if t == nil {
		t = &gatewayPeers{}
		d.seen[*g] = t
	}
	t.note(found, err, d.Host.Now())
}

// resolve looks up names that a gateway shows in place of addresses, so that no peer is added
// twice.
func (d *Discovery) resolve(ctx context.Context, g *config.Gateway) {
	d.mu.Lock()
	hosts := d.seen[*g].unresolved(d.Host.Now())
	d.mu.Unlock()
	const atOnce = 32
	var all errgroup.Group
	all.SetLimit(atOnce)
	for _, host := range hosts {
		all.Go(func() error {
			addresses, err := d.Host.Resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return nil // the running peer logs it, if it stays that way
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.seen[*g].resolved(host, addresses, d.Host.Now())
			return nil
		})
	}
	_ = all.Wait() // no function fails
}

// Known returns the configuration with the last reported peers of the gateways, and asks none. Where
// no gateway is configured or was found, it has neither gateways nor peers.
func (d *Discovery) Known(cfg *config.Config) *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	candidates, configured := d.candidates(cfg)
	out := *cfg
	var sources []source
	for i := range candidates {
		g := &candidates[i]
		t := d.seen[*g]
		if !configured {
			if !t.present(g) {
				continue
			}
			out.Gateways = append(slices.Clip(out.Gateways), *g)
		}
		sources = append(sources, source{g, t})
	}
	d.logOnce(candidates, configured)
	d.add(&out, sources)
	return &out
}

// present reports whether a gateway that is not configured is on this host.
func (t *gatewayPeers) present(g *config.Gateway) bool {
	return t != nil && t.answered && (g.Type != config.XFRM || t.some) // every Linux has XFRM
}

// logOnce logs which gateways cannot be asked, once until that changes. A daemon that is not on
// this host is not worth a line.
func (d *Discovery) logOnce(candidates []config.Gateway, configured bool) {
	for i := range candidates {
		g := &candidates[i]
		t := d.seen[*g]
		if t == nil {
			continue
		}
		text := ""
		if t.err != nil && (configured || t.answered || !errors.Is(t.err, fs.ErrNotExist)) {
			text = t.err.Error()
		}
		changed := text != t.logged
		t.logged = text
		switch {
		case !changed:
		case text == "":
			d.log.Info("gateway lists its peers again", "gateway", g.Name)
		case t.answered:
			d.log.Warn("asking the gateway for its peers failed; keeping the last ones", "gateway", g.Name, "err", t.err)
		default:
			d.log.Warn("asking the gateway for its peers failed", "gateway", g.Name, "err", t.err)
		}
	}
}

// NotFound returns the error that no gateway of a configuration, or of this host, lists a peer. It
// names the gateways that could not be asked.
func (d *Discovery) NotFound(cfg *config.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var problems []string
	candidates, configured := d.candidates(cfg)
	for i := range candidates {
		g := &candidates[i]
		if t := d.seen[*g]; t != nil && t.err != nil && (configured || !errors.Is(t.err, fs.ErrNotExist)) {
			problems = append(problems, fmt.Sprintf("%s: %v", g.Name, t.err))
		}
	}
	if len(problems) == 0 {
		return errNotFound
	}
	return fmt.Errorf("%w (%s)", errNotFound, strings.Join(problems, "; "))
}

var errNotFound = errors.New("on a VPN gateway neither is needed: the peers of strongSwan, Libreswan or the kernel are measured, but none was found here")
