package collectors_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// A router knows the tunnels of destinations and counts lookups.
type router struct {
	tunnels map[netio.Path]string
	err     error
	asked   int
}

func (r *router) Route(p netio.Path) (netio.Route, error) {
	r.asked++
	return netio.Route{Tunnel: r.tunnels[p]}, r.err
}

func TestRouteGate(t *testing.T) {
	open := netio.Path{Dst: netip.MustParseAddr("203.0.113.10")}
	inside := netio.Path{Dst: netip.MustParseAddr("203.0.113.11")}
	noRoute := errors.New("network is unreachable")
	r := &router{tunnels: map[netio.Path]string{inside: "policy"}}
	gate := &collectors.RouteGate{Router: r}
	began := time.Now()
	for i, step := range []struct {
		after  time.Duration
		path   netio.Path
		forget bool
		broken error
		reason string
		err    error
		asked  int // in all
	}{
		{0, open, false, nil, "", nil, 1},
		{time.Minute - 1, open, false, noRoute, "", nil, 1},
		{time.Minute, open, false, noRoute, collectors.ReasonRoute, noRoute, 2},
		{time.Minute, open, false, nil, "", nil, 3},
		{time.Minute, inside, false, nil, collectors.ReasonTunnel, collectors.ErrTunnel, 4},
		{time.Minute, inside, false, nil, collectors.ReasonTunnel, collectors.ErrTunnel, 4},
		{time.Minute, open, false, nil, "", nil, 5},
		{time.Minute, open, true, noRoute, collectors.ReasonRoute, noRoute, 6},
		{time.Minute, open, false, nil, "", nil, 7},
		{time.Minute, open, false, nil, "", nil, 7},
	} {
		r.err = step.broken
		if step.forget {
			gate.Forget()
		}
		reason, err := gate.Check(step.path, began.Add(step.after))
		if reason != step.reason || !errors.Is(err, step.err) || r.asked != step.asked {
			t.Errorf("step %d: %q, %v after %d lookups, want %+v", i, reason, err, r.asked, step)
		}
	}
}

func TestRouteGateWithoutRouter(t *testing.T) {
	if reason, err := new(collectors.RouteGate).Check(netio.Path{}, time.Now()); reason != "" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
}

func TestCheckRoute(t *testing.T) {
	if err := collectors.CheckRoute(netio.Route{LinkMTU: 1500}); err != nil {
		t.Errorf("outside of tunnels: %v", err)
	}
	err := collectors.CheckRoute(netio.Route{Tunnel: "device wg0 (wireguard)"})
	if !errors.Is(err, collectors.ErrTunnel) || err.Error() != "inside the tunnel: device wg0 (wireguard)" {
		t.Errorf("inside a tunnel: %v", err)
	}
}
