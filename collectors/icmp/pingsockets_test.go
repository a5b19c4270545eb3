package icmp_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/silence"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func loopback(dst string) netio.Path { return netio.Path{Dst: netip.MustParseAddr(dst)} }

// ping sends one echo and waits for its answer.
func ping(ctx context.Context, e icmp.Engine, path netio.Path, limit time.Duration) netio.Answer {
	answers := make(chan netio.Answer, 1)
	e.Echo(ctx, path, limit, func(a netio.Answer) { answers <- a })
	return <-answers
}

// needPingSockets allows ping sockets if this process has a network namespace of its own; otherwise
// it skips the test if the host does not allow them.
func needPingSockets(t *testing.T) {
	t.Helper()
	if netlab.Available() == nil {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	a := ping(t.Context(), icmp.NewPingSockets(1, nil, silence.New()), loopback("127.0.0.1"), time.Second)
	if !errors.Is(a.Err, icmp.ErrNoPingSockets) {
		return
	}
	if os.Getenv("REQUIRE_NETNS") == "1" {
		t.Fatal(a.Err)
	}
	t.Skip(a.Err)
}

// Missing permission for ping sockets, the default of a new network namespace, is an error and not
// silence. The test comes first: it cannot run after a test that allows ping sockets.
func TestPingSocketsNotAllowed(t *testing.T) {
	a := ping(t.Context(), icmp.NewPingSockets(1, nil, silence.New()), loopback("127.0.0.1"), time.Second)
	if a.Outcome == netio.Delivered {
		t.Skip("ping sockets are allowed here")
	}
	if a.Outcome != netio.NotSent || !errors.Is(a.Err, icmp.ErrNoPingSockets) || !errors.Is(a.Err, os.ErrPermission) {
		t.Errorf("answer %v, %v", a.Outcome, a.Err)
	}
}

func TestPingSocketsAnswer(t *testing.T) {
	needPingSockets(t)
	account := &netio.Account{}
	e := icmp.NewPingSockets(4, account, silence.New())
	tests := []struct {
		name string
		path netio.Path
	}{
		{"IPv4", loopback("127.0.0.1")},
		{"IPv6", loopback("::1")},
		{"from a source", netio.Path{Dst: netip.MustParseAddr("127.0.0.1"), Src: netip.MustParseAddr("127.0.0.2")}},
		{"from an interface", netio.Path{Dst: netip.MustParseAddr("127.0.0.1"), Interface: "lo"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ping(t.Context(), e, tt.path, time.Second)
			want := netio.Answer{Outcome: netio.Delivered, From: tt.path.Dst}
			opts := cmp.Options{cmpopts.IgnoreFields(netio.Answer{}, "Sent", "Received", "RoundTrip"), cmpopts.EquateComparable(netip.Addr{})}
			if diff := cmp.Diff(want, a, opts); diff != "" {
				t.Fatalf("answer (-want +got):\n%s", diff)
			}
			if a.RoundTrip <= 0 || a.RoundTrip > time.Second || a.RoundTrip != a.Received.Sub(a.Sent) {
				t.Errorf("round trip %v between %v and %v", a.RoundTrip, a.Sent, a.Received)
			}
		})
	}
	e.Wait()
	if packets, bytes := account.Packets.Load(), account.Bytes.Load(); packets != 4 || bytes != 3*84+104 {
		t.Errorf("charged with %d packets, %d bytes", packets, bytes)
	}
}

// Collector and engine together, with real time.
func TestMeasureOverPingSockets(t *testing.T) {
	needPingSockets(t)
	c := icmp.New(t.Context(), icmp.NewPingSockets(4, nil, silence.New()), target("127.0.0.1"), icmp.Options{})
	got, err := c.Measure(t.Context(), target("127.0.0.1"))
	if err != nil || got.State != icmp.Reachable || got.Sent != 5 || got.Received != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPingSocketsFailToSend(t *testing.T) {
	needPingSockets(t)
	e := icmp.NewPingSockets(4, nil, silence.New())
	ended, end := context.WithCancel(t.Context())
	end()
	tests := []struct {
		name string
		ctx  context.Context
		path netio.Path
		want error // nil: any
	}{
		{"no such interface", t.Context(), netio.Path{Dst: netip.MustParseAddr("127.0.0.1"), Interface: "nosuch0"}, nil},
		{"no such source", t.Context(), netio.Path{Dst: netip.MustParseAddr("127.0.0.1"), Src: netip.MustParseAddr("192.0.2.1")}, nil},
		{"broadcast address", t.Context(), loopback("127.255.255.255"), icmp.ErrDestination},
		{"no address", t.Context(), netio.Path{}, nil},
		{"context ended", ended, loopback("127.255.255.255"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ping(tt.ctx, e, tt.path, time.Second)
			if a.Outcome != netio.NotSent || a.Err == nil || (tt.want != nil && !errors.Is(a.Err, tt.want)) {
				t.Errorf("answer %v, %v; want not_sent, %v", a.Outcome, a.Err, tt.want)
			}
		})
	}
	e.Wait()
}

func TestPingSocketsAreBounded(t *testing.T) {
	e := icmp.NewPingSockets(1, nil, silence.New())
	inside, proceed := make(chan struct{}), make(chan struct{})
	e.Echo(t.Context(), loopback("127.0.0.1"), time.Second, func(netio.Answer) {
		close(inside) // still holds its slot
		<-proceed
	})
	<-inside
	if a := ping(t.Context(), e, loopback("127.0.0.1"), time.Second); a.Outcome != netio.NotSent || !errors.Is(a.Err, icmp.ErrAllBusy) {
		t.Errorf("second echo: %v, %v", a.Outcome, a.Err)
	}
	close(proceed)
	e.Wait()
	if a := ping(t.Context(), e, loopback("127.0.0.1"), time.Second); errors.Is(a.Err, icmp.ErrAllBusy) {
		t.Error("the slot was not given back")
	}
}
