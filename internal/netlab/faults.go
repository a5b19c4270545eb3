package netlab

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Fault is the name of an active fault. Faults made of MTUs have no name, because they are set
// and not counted.
type Fault string

// Faults that exist once. DropUDPPort and DropProtocol name their faults by number.
const (
	FaultICMP        Fault = "icmp"
	FaultPTB         Fault = "ptb"
	FaultFragments   Fault = "fragments"
	FaultLoss        Fault = "loss"
	FaultSilentDrop  Fault = "silent-drop"
	FaultICMPLimit   Fault = "icmp-limit"
	FaultEchoLimit   Fault = "echo-limit"
	FaultRewrittenTB Fault = "rewritten-ptb"
	FaultClearedDF   Fault = "cleared-df"
	FaultSilence     Fault = "silence"
	// FaultSecondWay counts the packets that take the second way of scenario S15.
	FaultSecondWay Fault = "second-way"
)

// A Direction is a direction across the provider.
type Direction uint8

// The directions, as seen by the client.
const (
	// Forward is from the client to the server.
	Forward Direction = 1 << iota
	// Reverse is from the server to the client.
	Reverse
	// Both is either direction.
	Both = Forward | Reverse
)

// installed is a fault and the routers with its rules.
type installed struct {
	name Fault
	at   []*NS
}

// install activates a fault at the routers.
func (p *Provider) install(t T, name Fault, rules []rule, at ...*NS) Fault {
	t.Helper()
	i := slices.IndexFunc(p.faults, func(f installed) bool { return f.name == name })
	if i >= 0 {
		p.Heal(t, name) // a fault that is set again starts fresh
	}
	for _, n := range at {
		if err := name.install(n, rules); err != nil {
			t.Fatalf("%v", err)
		}
	}
	p.faults = append(p.faults, installed{name: name, at: at})
	return name
}

// Heal ends a fault. The fault must be active.
func (p *Provider) Heal(t T, name Fault) {
	t.Helper()
	i := slices.IndexFunc(p.faults, func(f installed) bool { return f.name == name })
	if i < 0 {
		t.Fatalf("fault %q is not in force", name)
	}
	for _, n := range p.faults[i].at {
		if err := name.remove(n); err != nil {
			t.Fatalf("%v", err)
		}
	}
	p.faults = slices.Delete(p.faults, i, i+1)
}

// Dropped returns the number of packets that the fault has dropped or changed since it was set.
func (p *Provider) Dropped(t T, name Fault) uint64 {
	t.Helper()
	i := slices.IndexFunc(p.faults, func(f installed) bool { return f.name == name })
	if i < 0 {
		t.Fatalf("fault %q is not in force", name)
	}
	var sum uint64
	for _, n := range p.faults[i].at {
		c, err := name.count(n)
		if err != nil {
			t.Fatalf("%v", err)
		}
		sum += c
	}
	return sum
}

// Faults returns the names of the active faults, the oldest first.
func (p *Provider) Faults() []Fault {
	names := make([]Fault, len(p.faults))
	for i, f := range p.faults {
		names[i] = f.name
	}
	return names
}

// SetMTU sets the MTU of net3, the link inside the provider, so that r2 and r3 send "packet too
// big". Below 1280 bytes the link has no IPv6 (RFC 8200, section 5); IPv6 returns when the MTU
// grows.
func (p *Provider) SetMTU(t T, mtu int) {
	t.Helper()
	middle := p.segments[middleSegment]
	for _, e := range []End{middle.near, middle.far} {
		if err := e.setMTU(mtu); err != nil {
			t.Fatalf("%v", err)
		}
	}
	p.middle = mtu
	p.setMiddle(t)
}

// SetForwardMTU limits only packets from r2 to the server; 0 ends the limit. A link cannot do this,
// because one end of a veth drops packets above its own MTU on arrival.
func (p *Provider) SetForwardMTU(t T, mtu int) {
	t.Helper()
	p.forward = mtu
	p.setMiddle(t)
}

// SetReverseMTU limits only packets from r3 to the client; 0 ends the limit.
func (p *Provider) SetReverseMTU(t T, mtu int) {
	t.Helper()
	p.reverse = mtu
	p.setMiddle(t)
}

// setMiddle sets the routes across net3. The routes of the hosts and their kernels' path MTU caches
// stay.
func (p *Provider) setMiddle(t T) {
	t.Helper()
	for _, v6 := range p.plan.families() {
		if err := p.setMiddleRoutes(v6); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// DropICMP drops all ICMP that r2 sends, receives or forwards, of both families, except IPv6
// neighbour discovery.
func (p *Provider) DropICMP(t T) Fault {
	t.Helper()
	return p.install(t, FaultICMP, atHooks(
		[]*nftables.ChainHook{nftables.ChainHookForward, nftables.ChainHookOutput, nftables.ChainHookInput},
		icmp4(), icmp6()), p.R2)
}

// DropPTB drops all "packet too big" that r2 and r3 send or forward.
func (p *Provider) DropPTB(t T) Fault {
	t.Helper()
	return p.install(t, FaultPTB, atHooks(
		[]*nftables.ChainHook{nftables.ChainHookForward, nftables.ChainHookOutput}, ptb4(), ptb6()), p.R2, p.R3)
}

// DropFragments drops all fragments at r2 and r3. Packets that one of them fragments itself pass
// its own forward hook unfragmented, and only the other router sees the fragments.
func (p *Provider) DropFragments(t T) Fault {
	t.Helper()
	return p.install(t, FaultFragments, atForward(fragment4(), fragment6()), p.R2, p.R3)
}

// DropUDPPort drops at r2 all UDP to and from a port.
func (p *Provider) DropUDPPort(t T, port uint16) Fault {
	t.Helper()
	return p.install(t, FaultUDPPort(port), atForward(udpPort(0, port), udpPort(2, port)), p.R2)
}

// FaultUDPPort returns the name of the fault of DropUDPPort.
func FaultUDPPort(port uint16) Fault { return Fault("udp-" + strconv.Itoa(int(port))) }

// DropProtocol drops at r2 all packets of an IP protocol: 50 is ESP, 51 is AH.
func (p *Provider) DropProtocol(t T, number uint8) Fault {
	t.Helper()
	return p.install(t, FaultProtocol(number), atForward(ipProtocol(number)...), p.R2)
}

// RejectProtocol refuses at r2 all packets of an IP protocol towards the server, with communication
// administratively prohibited (RFC 1812, section 5.2.7.1; RFC 4443, section 3.1).
func (p *Provider) RejectProtocol(t T, number uint8) Fault {
	t.Helper()
	var matches [][]expr.Any
	for _, m := range ipProtocol(number) {
		matches = append(matches, slices.Concat(leavingBy(p.segments[middleSegment].near.Name), m))
	}
	rules := atForward(matches...)
	for i := range rules {
		rules[i].act = []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
	}
	return p.install(t, FaultProtocol(number), rules, p.R2)
}

// FaultProtocol returns the name of the fault of DropProtocol and RejectProtocol.
func FaultProtocol(number uint8) Fault { return Fault("protocol-" + strconv.Itoa(int(number))) }

// Loss drops a share of all packets that r2 forwards, in percent per direction: 20 means 36 % of
// the round trips.
func (p *Provider) Loss(t T, share int) Fault {
	t.Helper()
	return p.install(t, FaultLoss, atForward(percent(share)), p.R2)
}

// Silence drops at r3 all packets to some addresses of the server.
func (p *Provider) Silence(t T, addrs ...netip.Addr) Fault {
	t.Helper()
	var matches [][]expr.Any
	for _, a := range addrs {
		matches = append(matches, towards(a))
	}
	return p.install(t, FaultSilence, atForward(matches...), p.R3)
}

// SilentDropAbove drops packets of more than size bytes on net3 without an ICMP error, like a
// switch between the routers.
func (p *Provider) SilentDropAbove(t T, size int, d Direction) Fault {
	t.Helper()
	rules := atForward(slices.Concat(leavingBy(p.segments[middleSegment].near.Name), longerThan(size)))
	var at []*NS
	if d&Forward != 0 {
		at = append(at, p.R2)
	}
	if d&Reverse != 0 {
		at = append(at, p.R3)
	}
	return p.install(t, FaultSilentDrop, rules, at...)
}

// ClearDF clears DF in the IPv4 packets that r2 receives, so that it cuts what is too large.
func (p *Provider) ClearDF(t T) Fault {
	t.Helper()
	return p.install(t, FaultClearedDF, []rule{{hook: nftables.ChainHookPrerouting, match: onlyDF4(), act: clearFlags4()}}, p.R2)
}

// LimitICMP drops ICMP towards the client above a rate per second, separately for packets that r2
// sends and, per family, for packets that it forwards. An initial burst of five passes.
func (p *Provider) LimitICMP(t T, perSecond int) Fault {
	t.Helper()
	return p.install(t, FaultICMPLimit, p.towardsClient(
		[]*nftables.ChainHook{nftables.ChainHookForward, nftables.ChainHookOutput}, perSecond, icmp4(), icmp6()), p.R2)
}

// LimitEchoReplies drops echo replies that r2 forwards above a rate per second and family. An
// initial burst of five passes.
func (p *Provider) LimitEchoReplies(t T, perSecond int) Fault {
	t.Helper()
	return p.install(t, FaultEchoLimit, p.towardsClient(
		[]*nftables.ChainHook{nftables.ChainHookForward}, perSecond, echoReply4(), echoReply6()), p.R2)
}

// towardsClient returns rules that limit the rate of packets that leave r2 towards the client.
func (p *Provider) towardsClient(hooks []*nftables.ChainHook, perSecond int, matches ...[]expr.Any) []rule {
	out := leavingBy(p.segments[firstSegment].far.Name)
	limited := make([][]expr.Any, len(matches))
	for i, m := range matches {
		limited[i] = slices.Concat(out, m, above(perSecond))
	}
	return atHooks(hooks, limited...)
}

// RewritePTB makes r2 and r3 name another next-hop MTU in their "packet too big", for IPv4 and
// IPv6.
func (p *Provider) RewritePTB(t T, mtu4 uint16, mtu6 uint32) Fault {
	t.Helper()
	return p.install(t, FaultRewrittenTB, []rule{
		// RFC 1191, section 4: the last 16 bits of the word after the checksum.
		{hook: nftables.ChainHookOutput, match: ptb4(), act: rewrite(6, binary.BigEndian.AppendUint16(nil, mtu4))},
		// RFC 4443, section 3.2: the whole word.
		{hook: nftables.ChainHookOutput, match: ptb6(), act: rewrite(4, binary.BigEndian.AppendUint32(nil, mtu6))},
	}, p.R2, p.R3)
}

// UseSecondWay sends ICMP and the UDP flows from odd source ports over net5, where r2 has a route
// of 1400 bytes. All other flows stay on the first path. It simulates a provider that spreads flows
// over unequal links. The hash of a real kernel depends on a secret of each boot, so a test could
// not predict the path of a flow. r2's "packet too big" comes from its address on net2 over IPv4
// and from its address on net5 over IPv6.
func (p *Provider) UseSecondWay(t T) Fault {
	t.Helper()
	matches := [][]expr.Any{icmp4(), icmp6(), oddUDPSource()}
	rules := atHooks([]*nftables.ChainHook{nftables.ChainHookPrerouting}, matches...)
	in := make([]byte, 16)
	copy(in, p.segments[clientSegment].far.Name)
	for i := range rules {
		rules[i].match = slices.Concat(meta(expr.MetaKeyIIFNAME, in), rules[i].match)
		rules[i].act = setMark(secondWay)
	}
	return p.install(t, FaultSecondWay, rules, p.R1)
}

// atForward returns rules that drop packets a router forwards.
func atForward(matches ...[]expr.Any) []rule {
	return atHooks([]*nftables.ChainHook{nftables.ChainHookForward}, matches...)
}

func atHooks(hooks []*nftables.ChainHook, matches ...[]expr.Any) []rule {
	rules := make([]rule, 0, len(hooks)*len(matches))
	for _, h := range hooks {
		for _, m := range matches {
			rules = append(rules, rule{hook: h, match: m})
		}
	}
	return rules
}
