package flows_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/responder"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// useFlow sends an echo and a datagram to each IKE port by the flow in use, and waits for their
// answers or the end of their time.
func useFlow(t *testing.T, stack *netio.Stack, path netio.Path) {
	t.Helper()
	payload := make([]byte, 100)
	packets := []*netio.Packet{
		{Path: path, Size: path.HeaderIP() + 64},
		{Path: path, Protocol: netio.UDP, Port: 500, Payload: payload},
		{Path: path, Protocol: netio.UDP, Port: 4500, Payload: payload},
	}
	for _, p := range packets {
		done := make(chan netio.Answer, 8)
		stack.Send(t.Context(), p, 200*time.Millisecond, func(a netio.Answer) { done <- a })
		if a := <-done; a.Outcome == netio.NotSent {
			t.Fatal(a.Err)
		}
	}
}

// TestStuckMapping: a NAT on a real path whose mappings lead nowhere, while new ones are fine. With
// the next flow in use, everything is answered again.
func TestStuckMapping(t *testing.T) {
	netlab.Need(t)
	for name, v6 := range map[string]bool{"ipv4": false, "ipv6": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := netlab.NewProvider(t)
			p.Server.Do(t, func() {
				if _, err := responder.Start(t.Context(), responder.Config{}); err != nil {
					t.Fatal(err)
				}
			})
			var stack *netio.Stack
			p.Client.Do(t, func() {
				var err error
				stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
			})
			t.Cleanup(func() { stack.Close() })
			c := comparing(t, stack, 0)
			target := collectors.Target{
				Peer: "hq", Path: netio.Path{Dst: p.ServerAddr(v6)}, IKE: collectors.IKESettings{Port: 500, NATTPort: 4500},
			}
			measure := func(when string, want ...flows.State) {
				t.Helper()
				r, err := c.Measure(t.Context(), target)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, states(&r)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
			}
			p.RememberFlows(t)
			useFlow(t, stack, target.Path)
			p.DropKnownFlows(t)
			measure("with dead mappings", stuck, stuck, stuck)
			target.Path.Flow = flows.Next(target.Path.Flow)
			measure("with the next flow", even, even, even)
		})
	}
}
