package netlab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

const (
	// DefaultMTU is the MTU of every link of a fresh provider.
	DefaultMTU = 1500
	// defaultBlock is the address block of a single provider, as in the drawing.
	defaultBlock = 77
	// secondWay is the routing table and the firewall mark of the flows that scenario S15 sends
	// over net5, where r2 has a smaller route.
	secondWay = 77
	// secondWayMTU is the MTU of that route.
	secondWayMTU = 1400
	// rulePriority is the priority of the rules for that table: before the main table's 32766.
	rulePriority = 100
)

// A Provider is the path client - r1 - r2 - r3 - server of the package's drawing, for IPv4 and
// IPv6. One goroutine at a time may change its faults, also while traffic runs.
type Provider struct {
	Client, R1, R2, R3, Server *NS

	plan     Plan
	segments []segment
	// middle is the MTU of net3; forward and reverse are the MTUs of the routes across it (0: the
	// MTU of the link).
	middle, forward, reverse int
	faults                   []installed
}

// A Plan places a provider among several providers of one client. The zero Plan is a single
// provider, as in the drawing.
type Plan struct {
	// Client sends the packets; nil creates a client with a default route over this provider.
	Client *NS
	// Block, from 1 to 99, replaces the 77 of the drawing in all addresses and devices, in decimal
	// digits in both families: 10.12.1.0/24, fd12:1::/64, net1-12. A shared client has a route to
	// this block only. 0 means 77.
	Block byte
	// OnlyIPv4 omits IPv6, for example on a kernel without IPv6.
	OnlyIPv4 bool
}

// shared reports whether several providers share the client.
func (p Plan) shared() bool { return p.Client != nil }

// families returns the address families of the provider: whether each is IPv6.
func (p Plan) families() []bool {
	if p.OnlyIPv4 {
		return []bool{false}
	}
	return []bool{false, true}
}

// reached returns the destination of the client's route over the provider.
func (p Plan) reached(v6 bool) netip.Prefix {
	switch {
	case !p.shared():
		return everywhere(v6)
	case v6:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, digits(p.Block)}), 16)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, p.Block}), 16)
}

// digits returns the byte with the same hexadecimal digits as the decimal digits of n.
func digits(n byte) byte { return n/10<<4 | n%10 }

// A segment is one link with its two ends.
type segment struct {
	block     byte
	net       int
	near, far End
}

// Indexes of Provider.segments.
const (
	clientSegment = iota
	firstSegment
	middleSegment
	serverSegment
	secondSegment
)

// NewProvider builds the path, without any fault. It ends with the test.
func NewProvider(t T) *Provider {
	t.Helper()
	return NewProviderAt(t, Plan{})
}

// NewProviderAt builds the path as planned, without any fault. It ends with the test.
func NewProviderAt(t T, plan Plan) *Provider {
	t.Helper()
	p := &Provider{Client: plan.Client, R1: New(t), R2: New(t), R3: New(t), Server: New(t), plan: plan}
	if !plan.shared() {
		p.Client = New(t)
	}
	if plan.Block == 0 {
		p.plan.Block = defaultBlock
	}
	for _, n := range []*NS{p.R1, p.R2, p.R3, p.Server, p.Client} {
		quieten(t, n)
	}
	if plan.shared() && !plan.OnlyIPv4 {
		p.Client.useIPv6AtOnce(t) // it may be the namespace of the process
	}
	for _, n := range []*NS{p.R1, p.R2, p.R3} {
		n.Sysctl(t, "net/ipv4/ip_forward", "1")
		if !plan.OnlyIPv4 {
			n.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		}
	}
	for i, pair := range [][2]*NS{
		clientSegment: {p.Client, p.R1}, firstSegment: {p.R1, p.R2}, middleSegment: {p.R2, p.R3},
		serverSegment: {p.R3, p.Server}, secondSegment: {p.R1, p.R2},
	} {
		p.segments = append(p.segments, p.plan.segment(i+1, pair[0], pair[1]))
	}
	ends := make([]End, 0, 2*len(p.segments))
	for _, s := range p.segments {
		addVeth(t, s.near, s.far, DefaultMTU)
		ends = append(ends, s.near, s.far)
	}
	p.middle = DefaultMTU
	if err := p.addRules(); err != nil {
		t.Fatalf("%v", err)
	}
	if err := p.setRoutes(); err != nil {
		t.Fatalf("%v", err)
	}
	awaitUp(t, ends...)
	return p
}

// quieten disables functions of the kernel other than forwarding: its own ICMP rate limits, which
// belong to no scenario, and the reverse path filter, which would drop the packets of ForgePTB.
func quieten(t T, n *NS) {
	t.Helper()
	n.Sysctl(t, "net/ipv4/icmp_ratelimit", "0")
	n.sysctlIfPresent(t, "net/ipv6/icmp/ratelimit", "0") // not on a kernel without IPv6
	// Before Linux 6.13 the next two exist on the host only, with sufficient values.
	n.sysctlIfPresent(t, "net/ipv4/icmp_msgs_per_sec", "1000000")
	n.sysctlIfPresent(t, "net/ipv4/icmp_msgs_burst", "100000")
	n.Sysctl(t, "net/ipv4/conf/all/rp_filter", "0")
	n.Sysctl(t, "net/ipv4/conf/default/rp_filter", "0")
}

func (p Plan) segment(net int, near, far *NS) segment {
	s := segment{block: p.Block, net: net}
	name := fmt.Sprintf("net%d", net)
	if p.Block != defaultBlock {
		name = fmt.Sprintf("net%d-%d", net, p.Block)
	}
	s.near, s.far = End{NS: near, Name: name}, End{NS: far, Name: name}
	for _, v6 := range p.families() {
		s.near.Addrs = append(s.near.Addrs, s.prefix(1, v6))
		s.far.Addrs = append(s.far.Addrs, s.prefix(2, v6))
	}
	return s
}

func (s segment) prefix(host byte, v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, digits(s.block), 0, byte(s.net), 15: host}), 64)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, s.block, byte(s.net), host}), 24)
}

func (p *Provider) addr(segment int, host byte, v6 bool) netip.Addr {
	return p.segments[segment].prefix(host, v6).Addr()
}

// ClientAddr returns the client's address.
func (p *Provider) ClientAddr(v6 bool) netip.Addr { return p.addr(clientSegment, 1, v6) }

// ServerAddr returns the server's address.
func (p *Provider) ServerAddr(v6 bool) netip.Addr { return p.addr(serverSegment, 2, v6) }

// HopAddr returns the address from which the router at that distance (1 to 3) answers the client.
func (p *Provider) HopAddr(hop int, v6 bool) netip.Addr {
	return p.addr(clientSegment+hop-1, 2, v6)
}

// AddServerAddr adds an address to the server in its network, for tests with several peers.
func (p *Provider) AddServerAddr(t T, host byte, v6 bool) netip.Addr {
	t.Helper()
	end := p.segments[serverSegment].far
	end.Addrs = []netip.Prefix{p.segments[serverSegment].prefix(host, v6)}
	if err := end.setAddrs(); err != nil {
		t.Fatalf("%v", err)
	}
	return end.Addrs[0].Addr()
}

// AllowPingSockets permits unprivileged ping sockets in the client's kernel, which refuses them by
// default. It cannot be undone: the empty range of the default names a group that a user namespace
// with one group does not have.
func (p *Provider) AllowPingSockets(t T) {
	t.Helper()
	p.Client.Sysctl(t, "net/ipv4/ping_group_range", "0 0")
}

// Reset restores S0: no faults, every link at 1500 bytes, no path MTU exceptions in any kernel.
// Added addresses of the server and the permission for ping sockets stay.
func (p *Provider) Reset(t T) {
	t.Helper()
	for len(p.faults) > 0 {
		p.Heal(t, p.faults[len(p.faults)-1].name)
	}
	p.forward, p.reverse = 0, 0
	p.setMTUs(t, DefaultMTU, DefaultMTU)
}

// setMTUs sets the MTU of net3 and of all other links, and replaces every route.
func (p *Provider) setMTUs(t T, middle, others int) {
	t.Helper()
	for i, s := range p.segments {
		mtu := others
		if i == middleSegment {
			mtu = middle
		}
		for _, e := range []End{s.near, s.far} {
			if err := e.setMTU(mtu); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	p.middle = middle
	if err := p.setRoutes(); err != nil {
		t.Fatalf("%v", err)
	}
}

// setRoutes replaces all routes, with the configured MTUs, and thereby clears the kernels' path MTU
// exceptions.
func (p *Provider) setRoutes() error {
	for _, v6 := range p.plan.families() {
		if err := p.Client.route(Route{Dst: p.plan.reached(v6), Via: p.addr(clientSegment, 2, v6)}); err != nil {
			return err
		}
		if err := p.Server.route(Route{Dst: everywhere(v6), Via: p.addr(serverSegment, 1, v6)}); err != nil {
			return err
		}
		for _, r := range []Route{
			{Dst: everywhere(v6), Via: p.addr(firstSegment, 2, v6)},
			{Dst: everywhere(v6), Via: p.addr(secondSegment, 2, v6), Table: secondWay},
		} {
			if err := p.R1.route(r); err != nil {
				return err
			}
		}
		back := Route{Dst: p.segments[clientSegment].prefix(0, v6), Via: p.addr(firstSegment, 1, v6)}
		if err := p.R2.route(back); err != nil {
			return err
		}
		if err := p.setMiddleRoutes(v6); err != nil {
			return err
		}
	}
	return nil
}

// setMiddleRoutes sets the routes across net3. A link below 1280 bytes has no IPv6 routes.
func (p *Provider) setMiddleRoutes(v6 bool) error {
	if v6 && p.middle < minMTU6 {
		return nil
	}
	servers, via := p.segments[serverSegment].prefix(0, v6), p.addr(middleSegment, 2, v6)
	for _, r := range []Route{
		{Dst: servers, Via: via, MTU: p.forward},
		{Dst: servers, Via: via, MTU: min(p.middle, secondWayMTU), Table: secondWay},
	} {
		if err := p.R2.route(r); err != nil {
			return err
		}
	}
	return p.R3.route(Route{Dst: everywhere(v6), Via: p.addr(middleSegment, 1, v6), MTU: p.reverse})
}

// addRules routes marked packets of r1 over net5, and packets that r2 receives from there to its
// smaller route. Only scenario S15 sets the mark.
func (p *Provider) addRules() error {
	for _, v6 := range p.plan.families() {
		mark := netlink.NewRule()
		mark.Family, mark.Mark, mark.Table, mark.Priority = family(p.ClientAddr(v6)), secondWay, secondWay, rulePriority
		if err := p.R1.link.RuleAdd(mark); err != nil {
			return fmt.Errorf("rule of r1: %w", err)
		}
		in := netlink.NewRule()
		in.Family, in.IifName, in.Table, in.Priority = mark.Family, p.segments[secondSegment].far.Name, secondWay, rulePriority
		if err := p.R2.link.RuleAdd(in); err != nil {
			return fmt.Errorf("rule of r2: %w", err)
		}
	}
	return nil
}

func everywhere(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
