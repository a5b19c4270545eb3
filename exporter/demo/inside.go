//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	toolkit "github.com/prometheus/exporter-toolkit/web"

	"ipsec_path_exporter/exporter"
	"ipsec_path_exporter/exporter/trace"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

const (
	// firstFile is the descriptor of the first inherited listener.
	firstFile = 3
	// firstBlock is the address block of the first peer, 10.11.4.2; the next peer is 10.12.4.2.
	firstBlock = 11
	// hubDir is on the /run of this process, which ends with it.
	hubDir = "/run/ipsec_path_exporter-demo"
)

// inside builds the paths around this process, which runs in its own namespaces, and runs `serve`.
//
//	          ┌─ r1 ─ r2 ─ r3 ─ gateway    a provider of its own for each peer, with its fault
//	exporter ─┼─ r1 ─ r2 ─ r3 ─ gateway
//	          └─ ...
//
// A simulated Cisco ASA on loopback shows the tunnels of some peers. The listeners belong to the
// host and were opened before.
func inside(ctx context.Context, listeners int, log *slog.Logger) error {
	all := peers()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open, err := handedOver(listeners)
	if err != nil {
		return err
	}
	addresses := make([]string, len(all))
	end, err := netlab.Build(func(t netlab.T) {
		client := netlab.Here(t)
		for i, p := range all {
			addresses[i] = p.build(ctx, t, netlab.Plan{Client: client, Block: byte(firstBlock + i), OnlyIPv4: !p.ipv6})
		}
	})
	if err != nil {
		return fmt.Errorf("build the simulated providers: %w", err)
	}
	defer end()
	at, err := startHub(ctx, newHub(all, addresses), hubDir)
	if err != nil {
		return fmt.Errorf("start the simulated gateway: %w", err)
	}
	return exporter.Serve(ctx, exporter.ServeOptions{
		ConfigText: configuration(all, addresses, at), Listeners: open, EvidenceBytes: trace.DefaultBytes,
		Web: &toolkit.FlagConfig{WebConfigFile: new("")}, TelemetryPath: metricsPath, NativeHistograms: true, ClassicHistograms: true, TotalShards: 1,
		Lifecycle: true,
	}, log)
}

// build builds the path to the peer and the gateway at its end, and returns its address.
func (p *peer) build(ctx context.Context, t netlab.T, plan netlab.Plan) string {
	t.Helper()
	provider := netlab.NewProviderAt(t, plan)
	address := provider.ServerAddr(p.ipv6)
	provider.Server.Do(t, func() {
		if _, err := responder.Start(ctx, responder.Config{Addrs: []netip.Addr{address}}); err != nil {
			t.Fatalf("gateway of %s: %v", p.name, err)
		}
	})
	if p.breaks != nil {
		p.breaks(provider, t)
	}
	return address.String()
}

// handedOver returns the listeners that the process outside has opened.
func handedOver(n int) ([]net.Listener, error) {
	open := make([]net.Listener, 0, n)
	var errs []error
	for i := range n {
		f := os.NewFile(uintptr(firstFile+i), "listener")
		l, err := net.FileListener(f)
		errs = append(errs, err, f.Close())
		open = append(open, l)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("inherited listeners: %w", err)
	}
	return open, nil
}
