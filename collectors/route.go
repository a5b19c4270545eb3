package collectors

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ipsec_path_exporter/internal/netio"
)

// ErrTunnel means that probes would travel inside a tunnel of this host and not measure the path.
var ErrTunnel = errors.New("inside the tunnel")

// CheckRoute returns an error that wraps ErrTunnel and names the tunnel, if the route enters one.
func CheckRoute(r netio.Route) error {
	if r.Tunnel == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrTunnel, r.Tunnel)
}

// A Router knows the routes of this host. It sends nothing.
type Router interface {
	Route(path netio.Path) (netio.Route, error)
}

// routeAge is how long a RouteGate keeps a route: a lookup for each probe would be too expensive.
const routeAge = time.Minute

// A RouteGate decides whether probes may leave for a peer. It remembers the route of one path for a
// minute; another path is looked up at once. Only Forget is for concurrent use.
type RouteGate struct {
	// Router is the source of routes; without one every probe may leave.
	Router Router

	path   netio.Path
	until  time.Time
	tunnel error
	forget atomic.Bool
}

// Forget makes the next Check look up the route.
func (g *RouteGate) Forget() { g.forget.Store(true) }

// Check returns why no probe may leave by the path now: the reason for the label and the error, or
// neither. It may ask the kernel: callers hold no lock that a scrape needs.
func (g *RouteGate) Check(path netio.Path, now time.Time) (reason string, err error) {
	if g.Router == nil {
		return "", nil
	}
	if g.forget.Swap(false) {
		g.until = time.Time{}
	}
	if !now.Before(g.until) || path != g.path {
		route, err := g.Router.Route(path)
		if err != nil {
			return ReasonRoute, err
		}
		g.path, g.until, g.tunnel = path, now.Add(routeAge), CheckRoute(route)
	}
	if g.tunnel != nil {
		return ReasonTunnel, g.tunnel
	}
	return "", nil
}
