package netlab

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

const (
	// uplinkTable is the client's routing table for packets from its second address.
	uplinkTable = 78
	// uplinkMetric makes the second default route the less preferred one, in both families.
	uplinkMetric = 4096
)

// An Uplink is the client's second uplink, over another provider without faults.
//
//	client ---- r4 ---- server
//	    net6       net7
type Uplink struct {
	// R4 is the only router of that provider.
	R4 *NS

	provider       *Provider
	client, server segment
}

// Interface returns the client's device towards it.
func (u *Uplink) Interface() string { return u.client.near.Name }

// Addr returns the client's address on it.
func (u *Uplink) Addr(v6 bool) netip.Addr { return u.client.prefix(1, v6).Addr() }

// Router returns the address of R4 on the link to the client.
func (u *Uplink) Router(v6 bool) netip.Addr { return u.client.prefix(2, v6).Addr() }

// SetMTU sets the MTU of the client's link to R4.
func (u *Uplink) SetMTU(t T, mtu int) {
	t.Helper()
	u.setMTU(t, u.client, mtu)
}

// SetServerMTU sets the MTU of the link behind R4, so that R4 sends "packet too big".
func (u *Uplink) SetServerMTU(t T, mtu int) {
	t.Helper()
	u.setMTU(t, u.server, mtu)
}

func (u *Uplink) setMTU(t T, s segment, mtu int) {
	t.Helper()
	for _, e := range []End{s.near, s.far} {
		if err := e.setMTU(mtu); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// Hide leaves the uplink to the packets of rules: no longer by its address, nor by its interface.
func (u *Uplink) Hide(t T) {
	t.Helper()
	for _, v6 := range u.provider.plan.families() {
		link := u.provider.Client.link
		if err := errors.Join(link.RouteDel(u.second(v6)), link.RuleDel(u.rule(v6))); err != nil {
			t.Fatalf("hide the uplink: %v", err)
		}
	}
}

// Send makes the packets that a rule selects use the uplink. selects fills in the selector, and the
// rule comes before the uplink's own.
func (u *Uplink) Send(t T, v6 bool, selects func(r *netlink.Rule)) {
	t.Helper()
	rule := u.rule(v6)
	rule.Src, rule.Priority = nil, rulePriority-1
	selects(rule)
	if err := u.provider.Client.link.RuleAdd(rule); err != nil {
		t.Fatalf("rule for the uplink: %v", err)
	}
	t.Cleanup(func() { _ = u.provider.Client.link.RuleDel(rule) })
}

// Divert has a packet filter of the client mark what leaves for a UDP port, and a rule send what has
// the mark by the uplink.
func (u *Uplink) Divert(t T, port uint16) {
	t.Helper()
	const mark = 0x4e
	for _, v6 := range u.provider.plan.families() {
		u.Send(t, v6, func(r *netlink.Rule) { r.Mark = mark })
	}
	conn, err := nftables.New(nftables.WithNetNSFd(u.provider.Client.Fd()))
	if err != nil {
		t.Fatalf("nftables: %v", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "netlab-divert"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(udpPort(2, port), setMark(mark))})
	if err := conn.Flush(); err != nil {
		t.Fatalf("nftables, divert: %v", err)
	}
}

// second is the client's less preferred default route.
func (u *Uplink) second(v6 bool) *netlink.Route {
	return &netlink.Route{Dst: ipNet(everywhere(v6)), Gw: u.Router(v6).AsSlice(), Priority: uplinkMetric}
}

// rule is for packets from the client's second address.
func (u *Uplink) rule(v6 bool) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family, rule.Table, rule.Priority = family(u.Router(v6)), uplinkTable, rulePriority
	rule.Src = ipNet(netip.PrefixFrom(u.Addr(v6), u.Addr(v6).BitLen()))
	return rule
}

// AddUplink adds a second path from the client to the server. Packets use it if they are bound to
// its interface or come from its address; all others use the first path. Scenarios do not affect
// it.
func (p *Provider) AddUplink(t T) *Uplink {
	t.Helper()
	u := &Uplink{R4: New(t), provider: p}
	quieten(t, u.R4)
	u.R4.Sysctl(t, "net/ipv4/ip_forward", "1")
	u.R4.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	u.client = p.plan.segment(6, p.Client, u.R4)
	u.server = p.plan.segment(7, u.R4, p.Server)
	server := u.server
	for _, s := range []segment{u.client, server} {
		Veth(t, s.near, s.far, DefaultMTU)
	}
	for _, v6 := range p.plan.families() {
		gateway := u.client.prefix(2, v6).Addr()
		p.Client.Route(t, Route{Dst: everywhere(v6), Via: gateway, Table: uplinkTable})
		u.R4.Route(t, Route{Dst: p.segments[serverSegment].prefix(0, v6), Via: server.prefix(2, v6).Addr()})
		p.Server.Route(t, Route{Dst: u.client.prefix(0, v6), Via: server.prefix(1, v6).Addr()})
		if err := p.Client.link.RouteAdd(u.second(v6)); err != nil {
			t.Fatalf("second default route: %v", err)
		}
		if err := p.Client.link.RuleAdd(u.rule(v6)); err != nil {
			t.Fatalf("rule for the second address: %v", err)
		}
	}
	return u
}
