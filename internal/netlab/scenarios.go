package netlab

// A Scenario is a named set of faults.
type Scenario struct {
	// Name is the argument of Apply.
	Name string
	// Description is one line about the path.
	Description string

	apply func(*Provider, T)
}

// Scenarios returns all scenarios. In the descriptions, an n-byte link means net3 with n bytes and
// "packet too big" (PTB) from r2, unless it is dropped or changed.
func Scenarios() []Scenario {
	return append(mtuScenarios(), otherScenarios()...)
}

// mtuScenarios returns the scenarios about packet sizes.
func mtuScenarios() []Scenario {
	return []Scenario{
		{"S1", "1400-byte link, PTB arrives", func(p *Provider, t T) { p.SetMTU(t, 1400) }},
		{"S2", "1400-byte link, PTB dropped: a black hole", blackHole(1400)},
		{"S2b", "everything above 1400 bytes dropped silently, both ways", func(p *Provider, t T) {
			p.SilentDropAbove(t, 1400, Both)
		}},
		{"S3", "1400-byte link, all ICMP dropped at r2", noICMP},
		{"S4", "fragments dropped", func(p *Provider, t T) { p.DropFragments(t) }},
		{"S5", "1400-byte link, all ICMP and all fragments dropped", func(p *Provider, t T) {
			noICMP(p, t)
			p.DropFragments(t)
		}},
		{"S6", "1400 bytes from the server only, PTB dropped", func(p *Provider, t T) {
			p.SetReverseMTU(t, 1400)
			p.DropPTB(t)
		}},
		{"S6b", "everything above 1400 bytes from the server dropped silently", func(p *Provider, t T) {
			p.SilentDropAbove(t, 1400, Reverse)
		}},
		{"S6c", "1400 bytes to the server only, PTB dropped: a black hole", func(p *Provider, t T) {
			p.SetForwardMTU(t, 1400)
			p.DropPTB(t)
		}},
		{"S6d", "1450 bytes to the server, 1400 from it, PTB arrives", func(p *Provider, t T) {
			p.SetForwardMTU(t, 1450)
			p.SetReverseMTU(t, 1400)
		}},
		{"S7a", "1400-byte link, PTB names 0 bytes", lyingPTB(0, 0)},
		{"S7b", "1400-byte link, PTB names 300 bytes, over IPv6 600: too small", lyingPTB(300, 600)},
		{"S7c", "1400-byte link, PTB names 1450 bytes: too large", lyingPTB(1450, 1450)},
		{"S7d", "clean, but forged PTBs have lowered the client's cached path MTU (IPv4 552, IPv6 1300)", forged},
		{"S10", "clean again, but the client's kernel has cached the MTU of a 1400-byte link", flap},
		{"S13", "9000 bytes throughout", func(p *Provider, t T) { p.setMTUs(t, 9000, 9000) }},
		{"S13b", "9000 bytes, but a 1500-byte link between r2 and r3", func(p *Provider, t T) { p.setMTUs(t, 1500, 9000) }},
		{"S14a", "1280-byte link, PTB arrives", func(p *Provider, t T) { p.SetMTU(t, 1280) }},
		{"S14b", "576-byte link, PTB arrives; no IPv6", func(p *Provider, t T) { p.SetMTU(t, 576) }},
		{"S14c", "576-byte link, PTB dropped: a black hole; no IPv6", blackHole(576)},
		{"S15", "two paths: 1400 bytes for ICMP and odd UDP source ports, 1500 for even ones, PTB arrives", secondWayOnly},
		{"S15b", "S15 with PTB dropped: a black hole for some flows", func(p *Provider, t T) {
			secondWayOnly(p, t)
			p.DropPTB(t)
		}},
	}
}

// otherScenarios returns the scenarios about loss, rates and filters, and the one without a fault.
func otherScenarios() []Scenario {
	return []Scenario{
		{"S0", "clean, 1500 bytes", func(*Provider, T) {}},
		{"S8-1", "1 % loss each way", loss(1)},
		{"S8-5", "5 % loss each way", loss(5)},
		{"S8-20", "20 % loss each way", loss(20)},
		{"S8m-5", "1400-byte black hole and 5 % loss each way", lossyBlackHole(5)},
		{"S8m-20", "1400-byte black hole and 20 % loss each way", lossyBlackHole(20)},
		{"S9", "1400-byte link, ICMP towards the client limited to 1/s", func(p *Provider, t T) {
			p.SetMTU(t, 1400)
			p.LimitICMP(t, 1)
		}},
		{"S9r", "echo replies limited to 2/s", func(p *Provider, t T) { p.LimitEchoReplies(t, 2) }},
		{"S11a", "UDP 500 dropped", func(p *Provider, t T) { p.DropUDPPort(t, 500) }},
		{"S11b", "UDP 4500 dropped", func(p *Provider, t T) { p.DropUDPPort(t, 4500) }},
		{"S12", "ESP and AH dropped", func(p *Provider, t T) {
			p.DropProtocol(t, 50)
			p.DropProtocol(t, 51)
		}},
		{"S11c", "UDP 500 and UDP 4500 dropped", func(p *Provider, t T) {
			p.DropUDPPort(t, 500)
			p.DropUDPPort(t, 4500)
		}},
		{"S11d", "UDP 500 and UDP 4500 refused by r2", func(p *Provider, t T) {
			p.RejectUDPPort(t, 500)
			p.RejectUDPPort(t, 4500)
		}},
		{"S11e", "UDP 500 and UDP 4500 dropped, except from the same source port", func(p *Provider, t T) { p.DropOtherSourcePorts(t) }},
		{"S18", "two equal-cost links for UDP, one of them dead", func(p *Provider, t T) { p.DropOddFlows(t) }},
		{"S12b", "ESP in UDP dropped", func(p *Provider, t T) { p.DropESPInUDP(t) }},
		{"S16", "the server refuses all but neighbor discovery", func(p *Provider, t T) { p.RefuseAtServer(t) }},
		{"S17", "1400-byte link, PTB arrives, but the client itself drops all ICMP", func(p *Provider, t T) {
			p.SetMTU(t, 1400)
			p.DropInput(t)
		}},
		{"S17b", "the client itself refuses to send to UDP 500 and UDP 4500", func(p *Provider, t T) {
			p.RefuseOutput(t, 500)
			p.RefuseOutput(t, 4500)
		}},
	}
}

// Apply activates a scenario and ends the one before.
func (p *Provider) Apply(t T, name string) {
	t.Helper()
	for _, s := range Scenarios() {
		if s.Name == name {
			p.Reset(t)
			s.apply(p, t)
			return
		}
	}
	t.Fatalf("no scenario %q", name)
}

// blackHole is a small link without "packet too big".
func blackHole(mtu int) func(*Provider, T) {
	return func(p *Provider, t T) {
		p.DropPTB(t)
		p.SetMTU(t, mtu)
	}
}

// noICMP is a black hole without any ICMP.
func noICMP(p *Provider, t T) {
	p.SetMTU(t, 1400)
	p.DropICMP(t)
}

// lyingPTB is a small link whose routers name a wrong size.
func lyingPTB(mtu4 uint16, mtu6 uint32) func(*Provider, T) {
	return func(p *Provider, t T) {
		p.RewritePTB(t, mtu4, mtu6)
		p.SetMTU(t, 1400)
	}
}

func loss(share int) func(*Provider, T) {
	return func(p *Provider, t T) { p.Loss(t, share) }
}

func lossyBlackHole(share int) func(*Provider, T) {
	return func(p *Provider, t T) {
		blackHole(1400)(p, t)
		p.Loss(t, share)
	}
}

func secondWayOnly(p *Provider, t T) { p.UseSecondWay(t) }

// forged sends a PTB that affects a Linux client without an open socket: it quotes an echo reply,
// which the kernel itself would have sent.
func forged(p *Provider, t T) {
	for _, v6 := range []bool{false, true} {
		mtu := uint32(300)
		if v6 {
			mtu = 1300
		}
		quote := EchoPacket(p.ClientAddr(v6), p.ServerAddr(v6), true, 1, 1, DefaultMTU)
		p.ForgePTB(t, Forgery{Quote: quote, MTU: mtu})
	}
}

// flap shrinks the link until the client's kernel has cached the smaller path MTU, then restores
// it.
func flap(p *Provider, t T) {
	p.SetMTU(t, 1400)
	for _, v6 := range []bool{false, true} {
		if err := p.Client.learnMTU(p.ServerAddr(v6), 1400); err != nil {
			t.Fatalf("%v", err)
		}
	}
	p.SetMTU(t, DefaultMTU)
}
