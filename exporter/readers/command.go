package readers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/peerfiles"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/untrusted"
)

// Options are what the command line says to read.
type Options struct {
	ConfigFile string
	// Name is that of a gateway, empty for all.
	Name string
	// Discover adds the gateways of this host, and their peers, to a configuration with neither.
	Discover func(context.Context, *config.Config) (*config.Config, error)
	// Record is the file for a transcript, if any.
	Record string
	// Output is text or json.
	Output         string
	Stdout, Stderr io.Writer
}

// ErrTunnelDown means that a tunnel which is expected at the gateway is not up.
var ErrTunnelDown = errors.New("a tunnel is down")

// errTunnelUnknown means that the gateway does not show whether an expected tunnel is up.
var errTunnelUnknown = errors.New("does not show whether all expected tunnels are up")

// Run reads and prints the tables of one gateway, or of all. The error is ErrTunnelDown if a tunnel
// is missing and every gateway could be read.
func Run(ctx context.Context, o Options) error {
	if o.Output != "text" && o.Output != "json" {
		return fmt.Errorf("--output=%s: must be one of: text, json", o.Output)
	}
	o.Stdout, o.Stderr = untrusted.Writer(o.Stdout), untrusted.Writer(o.Stderr)
	cfg, err := o.configuration(ctx)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(cfg.Gateways), func(g config.Gateway) bool { return o.Name != "" && g.Name != o.Name })
	switch {
	case len(cfg.Gateways) == 0 && o.Name == "":
		return fmt.Errorf("no gateways in %s", o.ConfigFile)
	case len(chosen) == 0 && o.ConfigFile == "":
		return fmt.Errorf("no gateway %q on this host: it has %s", o.Name, strings.Join(gatewayNames(cfg), ", "))
	case len(chosen) == 0:
		return fmt.Errorf("no gateway %q in %s: it has %s", o.Name, o.ConfigFile, cmp.Or(strings.Join(gatewayNames(cfg), ", "), "none"))
	case o.Record != "" && len(chosen) > 1:
		return fmt.Errorf("--record: records one gateway: name one of %s", strings.Join(gatewayNames(cfg), ", "))
	}
	var failures []error
	down := false
	for i := range chosen {
		if i > 0 && o.Output == "text" {
			fmt.Fprintln(o.Stdout)
		}
		err := o.read(ctx, cfg, &chosen[i])
		if errors.Is(err, ErrTunnelDown) {
			down = true
		} else if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) == 0 && down {
		return ErrTunnelDown
	}
	return errors.Join(failures...)
}

// configuration returns the configured gateways and peers, or those of this host where the
// configuration has no gateways.
func (o *Options) configuration(ctx context.Context) (*config.Config, error) {
	cfg, err := config.ReadAny(o.ConfigFile, nil)
	if err != nil {
		return nil, err
	}
	if cfg, err = peerfiles.Read(cfg); err != nil {
		return nil, err
	}
	if len(cfg.Gateways) > 0 || len(cfg.Peers) > 0 {
		return cfg, nil
	}
	if cfg, err = o.Discover(ctx, cfg); err != nil {
		return nil, fmt.Errorf("no gateways: give a file that has some with --config.file; %w", err)
	}
	return cfg, nil
}

// read reads and prints the table of one gateway.
func (o *Options) read(ctx context.Context, cfg *config.Config, g *config.Gateway) error {
	for _, problem := range FileProblems(*g) {
		fmt.Fprintf(o.Stderr, "warning: %s\n", problem)
	}
	routes, err := netio.NewKernelRoutes()
	if err == nil {
		defer routes.Close()
	} else if !g.IsDevice() {
		fmt.Fprintf(o.Stderr, "warning: the kernel's cached path MTUs stay unknown: %v\n", err)
	}
	source, err := NewSource(g, routes)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // nothing is lost: it was only read
	if o.Record != "" {
		if err := record(ctx, source, g, o.Record); err != nil {
			return err
		}
	}
	return printGateway(ctx, source, cfg, g, o)
}

func gatewayNames(cfg *config.Config) []string {
	var names []string
	for i := range cfg.Gateways {
		names = append(names, cfg.Gateways[i].Name)
	}
	return names
}

// record writes the transcript, also where the answers could not be understood.
func record(ctx context.Context, source gateways.Source, g *config.Gateway, file string) error {
	recorder, ok := source.(gateways.Recorder)
	if !ok {
		return fmt.Errorf("--record: a gateway of type %s has no transcript: it does not answer in text", g.Type)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // before the device is asked
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	transcript, failure := recorder.Record(ctx)
	_, err = transcript.WriteTo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	if failure != nil {
		return fmt.Errorf("gateway %s cannot be read: %w", g.Name, failure)
	}
	return nil
}

// printGateway reads and prints.
func printGateway(ctx context.Context, source gateways.Source, cfg *config.Config, g *config.Gateway, o *Options) error {
	addresses, problems := resolve.Peers(ctx, nil, cfg.Peers)
	for _, err := range problems {
		fmt.Fprintf(o.Stderr, "warning: %v\n", err)
	}
	peers := gateways.NewAttribution(Expected(cfg.Peers, addresses, g.Name))
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	table, err := source.Read(ctx)
	if err != nil {
		return fmt.Errorf("gateway %s cannot be read: %w", g.Name, err)
	}
	view := viewOf(g.Name, &table, peers)
	view.Seconds = time.Since(began).Seconds()
	if o.Output == "json" {
		e := json.NewEncoder(o.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(view)
	} else {
		_, err = o.Stdout.Write(view.text())
	}
	if err != nil {
		return err
	}
	return view.outcome()
}

// outcome is the worst of the expected tunnels: down, then unknown.
func (v *gatewayView) outcome() error {
	is := func(up gateways.Answer) bool {
		return slices.ContainsFunc(v.Expected, func(e expectedView) bool { return e.Up == up.String() && !e.idle })
	}
	switch {
	case is(gateways.No):
		return ErrTunnelDown
	case is(gateways.Unknown):
		return fmt.Errorf("gateway %s %w", v.Gateway, errTunnelUnknown)
	}
	return nil
}

// Expected returns peers at known addresses as a gateway has to know them. An SA may be with any
// address of a peer's name.
func Expected(peers []config.Peer, addresses map[string][]netip.Addr, gateway string) []gateways.Peer {
	var out []gateways.Peer
	for i := range peers {
		p := &peers[i]
		one := gateways.Peer{Name: p.Name, Group: p.Group, Match: p.Match, Expected: slices.Contains(p.Gateways, gateway), OnDemand: p.OnDemand}
		if all := addresses[p.Name]; len(all) > 0 {
			one.Address = all[0]
			one.Match.Addresses = slices.Concat(p.Match.Addresses, words(all[1:]))
		}
		out = append(out, one)
	}
	return out
}

// words returns addresses as a Match has them.
func words(all []netip.Addr) (out []string) {
	for _, a := range all {
		out = append(out, a.String())
	}
	return out
}
