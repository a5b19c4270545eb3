package exporter

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
)

// restless is a resolver whose answers are never the same twice.
type restless struct{ asked atomic.Uint32 }

func (r *restless) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := r.asked.Add(1)
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, byte(n >> 8), byte(n)})}, nil
}

// TestReloadWhileNamesMove: a reload waits for look-ups of the peers that it removes, and those
// look-ups update the gateways.
func TestReloadWhileNamesMove(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	transcript := exportertest.ASAGateway("MM_ACTIVE", "127.0.0.1", 1500)
	l.open = func(*config.Gateway) (gateways.Source, error) { return ciscoasa.Replay(transcript) }
	text := func(generation int) string {
		var b strings.Builder
		b.WriteString(quick + "gateways: [{name: hub, type: xfrm, interval: 1s}]\npeers:\n")
		for i := range 50 {
			fmt.Fprintf(&b, "- {name: p%d, address: p%d.example, gateways: [hub], collectors: [icmp], labels: {generation: g%d}}\n", i, i, generation)
		}
		return b.String()
	}
	s := l.serveAs(t, text(0), false, &restless{})
	for i := range 20 {
		done := make(chan error, 1)
		go func() { done <- s.configure(t, text(i+1)) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(soon):
			t.Fatalf("reload %d does not end", i)
		}
	}
	exportertest.Eventually(t, soon, "attributed", func() bool {
		snapshot := s.readers.Pollers()[0].Snapshot()
		for i := range snapshot.Peers {
			if of := snapshot.Peers[i].Of; of != nil && of.Labels["generation"] == "g20" && of.Address.IsValid() {
				return true
			}
		}
		return false
	})
}
