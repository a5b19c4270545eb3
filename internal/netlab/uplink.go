package netlab

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

const (
	// uplinkTable is the client's routing table for packets from its second address.
	uplinkTable = 78
	// uplinkMetric makes the second default route the one that is taken only when asked for, in both families.
	uplinkMetric = 4096
)

// An Uplink is the client's second way out: over another provider, which knows no fault.
//
//	client ---- r4 ---- server
//	    net6       net7
type Uplink struct {
	// R4 is the only router of that provider.
	R4 *NS

	client segment
}

// Interface is the client's device towards it.
func (u *Uplink) Interface() string { return u.client.near.Name }

// Addr is the client's address on it.
func (u *Uplink) Addr(v6 bool) netip.Addr { return u.client.prefix(1, v6).Addr() }

// AddUplink gives the client a second way to the server. Packets take it that are bound to its interface or come from its
// address; all others go on to take the first. Scenarios do not touch it.
func (p *Provider) AddUplink(t T) *Uplink {
	t.Helper()
	u := &Uplink{R4: New(t)}
	quieten(t, u.R4)
	u.R4.Sysctl(t, "net/ipv4/ip_forward", "1")
	u.R4.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	u.client = p.plan.segment(6, p.Client, u.R4)
	server := p.plan.segment(7, u.R4, p.Server)
	for _, s := range []segment{u.client, server} {
		Veth(t, s.near, s.far, DefaultMTU)
	}
	for _, v6 := range p.plan.families() {
		gateway := u.client.prefix(2, v6).Addr()
		p.Client.Route(t, Route{Dst: everywhere(v6), Via: gateway, Table: uplinkTable})
		u.R4.Route(t, Route{Dst: p.segments[serverSegment].prefix(0, v6), Via: server.prefix(2, v6).Addr()})
		p.Server.Route(t, Route{Dst: u.client.prefix(0, v6), Via: server.prefix(1, v6).Addr()})
		second := &netlink.Route{Dst: ipNet(everywhere(v6)), Gw: gateway.AsSlice(), Priority: uplinkMetric}
		if err := p.Client.link.RouteAdd(second); err != nil {
			t.Fatalf("second default route: %v", err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Table, rule.Priority = family(gateway), uplinkTable, rulePriority
		rule.Src = ipNet(netip.PrefixFrom(u.Addr(v6), gateway.BitLen()))
		if err := p.Client.link.RuleAdd(rule); err != nil {
			t.Fatalf("rule for the second address: %v", err)
		}
	}
	return u
}
