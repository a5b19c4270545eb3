package pmtu

import (
	"errors"
	"fmt"
	"slices"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// Policy routing may send the probes of the methods by different ways. Then each method measures a
// path of its own, and none says anything about the result of another.

// lookUpRoutes asks this host for the route of each method, and of echoes, which serve as controls. It
// returns the route of the method that counts: that of IKE, if it is measured.
func (c *Collector) lookUpRoutes() (first netio.Route, err error) {
	c.routes = make(map[collectors.Method]netio.Route)
	var why error
	for _, m := range collectors.Methods() {
		route, e := c.network.Route(c.target.Get().PathOf(m))
		if e == nil {
			c.routes[m] = route
		} else if slices.Contains(c.opts.Methods, m) {
			err, why = errors.Join(err, fmt.Errorf("path MTU by %s: %w", m, e)), e
		}
	}
	if len(c.routes) == 0 {
		return netio.Route{}, fmt.Errorf("path MTU: %w", why)
	}
	return c.routes[c.opts.Methods[0]], err
}

// together reports whether the probes of two methods leave this host by the same way.
func (c *Collector) together(a, b collectors.Method) bool {
	first, second := c.routes[a], c.routes[b]
	return first.SameWay(&second)
}

// beside returns the methods other than m whose probes take the same way.
func (c *Collector) beside(m collectors.Method) []collectors.Method {
	var others []collectors.Method
	for _, other := range c.opts.Methods {
		if other != m && c.together(m, other) {
			others = append(others, other)
		}
	}
	return others
}

// echoesTell reports whether echoes can say something about the path of a method: not where they are
// measured on another way.
func (c *Collector) echoesTell(m collectors.Method) bool {
	return !slices.Contains(c.opts.Methods, collectors.ICMP) || c.together(collectors.ICMP, m)
}

// onWayOf returns the results of the methods that take the way of one of them.
func (c *Collector) onWayOf(m collectors.Method, results []Result) []Result {
	return slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return !c.together(m, r.Method) })
}
