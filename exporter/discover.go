package exporter

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

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/libreswan"
	"ipsec_path_exporter/collectors/gateways/strongswan"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
)

const (
	// discoverEvery is how often the gateways of this host are asked for their peers.
	discoverEvery   = 30 * time.Second
	discoverTimeout = 10 * time.Second
)

// A discovery takes the peers from the gateways of this host, for a configuration that names none.
//
//	look: asks all gateways at once, which may take its time ──▶ tales ──▶ known: a configuration with their peers, at once
type discovery struct {
	log *slog.Logger
	// local are the gateways to look for where none is configured.
	local []config.Gateway
	// open makes what asks a gateway.
	open     func(*config.Gateway) (gateways.Source, error)
	resolver resolver
	now      func() time.Time
	// addresses are those of this host, source the one that routing chooses for packets to another host.
	addresses func() ([]net.Addr, error)
	source    func(remote netip.Addr) netip.Addr

	mu    sync.Mutex
	tales map[config.Gateway]*tale
	own   map[netip.Addr]bool
	// pinned are the peers that are measured from where their tunnels go, because routing would choose another address.
	pinned map[string]netip.Addr
	// capped is how many peers were left out when that was logged last.
	capped int
}

func newDiscovery(log *slog.Logger) *discovery {
	d := &discovery{
		log: log, now: time.Now, addresses: net.InterfaceAddrs, tales: make(map[config.Gateway]*tale), pinned: make(map[string]netip.Addr),
		resolver: net.DefaultResolver,
		open:     func(g *config.Gateway) (gateways.Source, error) { return newSource(g, nil) },
		source:   routedSource(),
	}
	for _, g := range []config.Gateway{
		{Type: config.StrongSwan, Socket: strongswan.DefaultSocket},
		{Type: config.Libreswan, Socket: libreswan.DefaultSocket},
		{Type: config.XFRM},
	} {
		g.Name, g.Interval, g.Timeout = g.Type.String(), config.DefaultGatewayInterval, discoverTimeout
		d.local = append(d.local, g)
	}
	return d
}

// routedSource asks the kernel, once it is needed. Where it cannot be asked, nobody knows.
func routedSource() func(netip.Addr) netip.Addr {
	beliefs := sync.OnceValue(func() *netio.Beliefs {
		b, err := netio.NewBeliefs()
		if err != nil {
			return nil
		}
		return b
	})
	return func(remote netip.Addr) netip.Addr {
		if b := beliefs(); b != nil {
			return b.Source(remote)
		}
		return netip.Addr{}
	}
}

// discovers tells whether a gateway of this type can tell its peers.
func discovers(t config.GatewayType) bool {
	return t == config.StrongSwan || t == config.Libreswan || t == config.XFRM
}

// candidates are the gateways to ask: the configured ones, or else those that may be on this host.
func (d *discovery) candidates(cfg *config.Config) (all []config.Gateway, configured bool) {
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

// complete adds to a configuration without peers those of the gateways: of the configured ones, or else of those that are found on this host.
// It fails where there is neither. file is that of the configuration, for the error.
func (d *discovery) complete(ctx context.Context, cfg *config.Config, file string) (*config.Config, error) {
	d.look(ctx, cfg, 0)
	return d.known(cfg, file)
}

// look asks the gateways, all at once, except those that were asked so lately that their answers are still fresh.
func (d *discovery) look(ctx context.Context, cfg *config.Config, fresh time.Duration) {
	if len(cfg.Peers) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
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
		source, err := d.opened(g)
		if err != nil {
			d.told(ctx, g, nil, err)
			continue
		}
		asked.Go(func() {
			found, err := discover(ctx, source)
			d.told(ctx, g, found, err)
			d.resolve(ctx, g)
		})
	}
	asked.Wait()
}

// lookAtHost learns the addresses of this host: none of them is a peer. Those of before stay where they cannot be read.
func (d *discovery) lookAtHost() {
	list, err := d.addresses()
	if err != nil {
		d.log.Debug("the addresses of this host cannot be read", "err", err)
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

func (d *discovery) isFresh(g *config.Gateway, fresh time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tales[*g]
	return t != nil && d.now().Sub(t.asked) < fresh
}

func (d *discovery) opened(g *config.Gateway) (gateways.Source, error) {
	if path := strings.TrimPrefix(g.Socket, "unix://"); strings.HasPrefix(path, "/") {
		if _, err := os.Stat(path); err != nil {
			return nil, err // before a program is started to find that out
		}
	}
	return d.open(g)
}

func discover(ctx context.Context, source gateways.Source) ([]gateways.Found, error) {
	d, ok := source.(gateways.Discoverer)
	if !ok {
		return nil, errors.Join(errors.New("it does not tell its peers"), source.Close())
	}
	found, err := d.Discover(ctx)
	return found, errors.Join(err, source.Close())
}

// told notes what a gateway answered.
func (d *discovery) told(ctx context.Context, g *config.Gateway, found []gateways.Found, err error) {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // the program ends, or who wanted a reload has gone
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tales[*g]
	if t == nil {
		t = &tale{}
		d.tales[*g] = t
	}
	t.note(found, err, d.now())
}

// resolve looks up the names that a gateway has in place of addresses, so that the same peer is not taken twice.
func (d *discovery) resolve(ctx context.Context, g *config.Gateway) {
	d.mu.Lock()
	hosts := d.tales[*g].unresolved(d.now())
	d.mu.Unlock()
	const atOnce = 32
	var asked sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for _, host := range hosts {
		asked.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			addresses, err := d.resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return // the peer says so, if it stays that way
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.tales[*g].resolved(host, addresses, d.now())
		})
	}
	asked.Wait()
}

// known is the configuration with the peers that the gateways told last, without asking them.
func (d *discovery) known(cfg *config.Config, file string) (*config.Config, error) {
	if len(cfg.Peers) > 0 {
		return cfg, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	candidates, configured := d.candidates(cfg)
	out := *cfg
	var problems []error
	var telling []teller
	for i := range candidates {
		g := &candidates[i]
		t := d.tales[*g]
		present := t != nil && t.answered && (g.Type != config.XFRM || t.some) // every Linux has XFRM
		if !present && !configured {
			if t != nil && t.err != nil && !errors.Is(t.err, fs.ErrNotExist) {
				problems = append(problems, fmt.Errorf("%s: %w", g.Name, t.err))
			}
			continue
		}
		if !configured {
			out.Gateways = append(slices.Clip(out.Gateways), *g)
		}
		telling = append(telling, teller{g, t})
	}
	if len(telling) == 0 {
		return nil, notFound(file, problems)
	}
	d.complain(candidates, configured)
	d.add(&out, telling)
	return &out, nil
}

// complain logs which gateways cannot be asked, once until the story changes. That a daemon is not on this host is no story.
func (d *discovery) complain(candidates []config.Gateway, configured bool) {
	for i := range candidates {
		g := &candidates[i]
		t := d.tales[*g]
		if t == nil {
			continue
		}
		text := ""
		if t.err != nil && (configured || t.answered || !errors.Is(t.err, fs.ErrNotExist)) {
			text = t.err.Error()
		}
		changed := text != t.complaint
		t.complaint = text
		switch {
		case !changed:
		case text == "":
			d.log.Info("the gateway tells its peers again", "gateway", g.Name)
		case t.answered:
			d.log.Warn("the gateway cannot be asked for its peers, those of before stay", "gateway", g.Name, "err", t.err)
		default:
			d.log.Warn("the gateway cannot be asked for its peers", "gateway", g.Name, "err", t.err)
		}
	}
}

// notFound is the error of a configuration without peers on a host without gateways.
func notFound(file string, problems []error) error {
	hint := "on a VPN gateway neither is needed: the peers of strongSwan, Libreswan or the kernel are taken, but none was found here"
	if len(problems) > 0 {
		hint += fmt.Sprintf(" (%s)", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
	}
	return fmt.Errorf("%w; %s", config.ErrNoPeers(file), hint)
}
