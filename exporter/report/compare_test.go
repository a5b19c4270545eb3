package report

import "testing"

func TestCompare(t *testing.T) {
	lte := func() *Report { return over(well(), "lte0", "100.64.3.2") }
	wan := func(change func(*Report), names ...string) *Report {
		return over(faulty(change, names...), "wan0", "198.51.100.7")
	}
	blackHole := func(r *Report) { hole(r, "ike", "natt") }
	nothing := func(*Report) {}
	unmeasured := &Report{Peer: "hq", Via: "wan0", Errors: []string{"network is unreachable"}}
	partly := lte()
	partly.Errors = []string{"no raw sockets"}
	small := lte()
	small.MTU[1].State, small.MTU[1].Bytes = "reduced", 1492
	sameDevice := func(r *Report) *Report { r.Interface = "eth0"; return r }
	elsewhere := over(well(), "dsl0", "192.0.2.8")
	elsewhere.Address = "203.0.113.99"
	for _, tt := range []struct {
		name string
		ways []*Report
		want string
	}{
		{"all well", []*Report{lte(), over(well(), "dsl0", "192.0.2.8")}, "Over lte0 and dsl0 everything that was tested passes."},
		{
			"all well, different sizes",
			[]*Report{small, over(well(), "dsl0", "192.0.2.8")},
			"Over lte0 and dsl0 everything that was tested passes. The path MTU differs: 1492 bytes over lte0 and 1500 bytes over dsl0.",
		},
		{
			"one has a black hole",
			[]*Report{wan(blackHole, "pmtu_black_hole"), lte()},
			"Over lte0 everything that was tested passes, over wan0 packets above 1400 bytes vanish: the fault is on the way by wan0.",
		},
		{
			"a filter that may be the peer's own",
			[]*Report{lte(), wan(nothing, "udp500_blocked")},
			"Over lte0 everything that was tested passes, over wan0 UDP port 500 is not answered: the fault is on the way by wan0, " +
				"unless the peer treats that source address differently.",
		},
		{
			"the same fault over both",
			[]*Report{wan(blackHole, "pmtu_black_hole"), over(faulty(blackHole, "pmtu_black_hole"), "lte0", "100.64.3.2")},
			"Over wan0 and lte0 packets above 1400 bytes vanish: the fault is on what these ways share, or at the peer.",
		},
		{
			"faults of their own",
			[]*Report{wan(blackHole, "pmtu_black_hole"), over(faulty(nothing, "icmp_blocked"), "lte0", "100.64.3.2")},
			"Over wan0 packets above 1400 bytes vanish, over lte0 ICMP echo is not answered: that does not tell where the fault is.",
		},
		{
			"one could not be measured",
			[]*Report{lte(), unmeasured},
			"Over lte0 everything that was tested passes, over wan0 it could not be measured: that compares nothing.",
		},
		{
			"one was measured in part: no witness",
			[]*Report{wan(blackHole, "pmtu_black_hole"), partly},
			"Over wan0 packets above 1400 bytes vanish, over lte0 no fault was found, but not everything could be measured: that does not tell where the fault is.",
		},
		{
			"the same device",
			[]*Report{sameDevice(lte()), sameDevice(over(well(), "192.0.2.8", "192.0.2.8"))},
			"Over lte0 and 192.0.2.8 everything that was tested passes. lte0 and 192.0.2.8 both leave this host by eth0: " +
				"whether they are different ways is up to the routers behind it.",
		},
		{
			"different destinations",
			[]*Report{lte(), elsewhere},
			"Over lte0 and dsl0 everything that was tested passes. The peer's address is 203.0.113.10 over lte0 and 203.0.113.99 over dsl0: " +
				"these are different destinations.",
		},
		{
			"a fault at another destination",
			[]*Report{wan(blackHole, "pmtu_black_hole"), elsewhere},
			"Over dsl0 everything that was tested passes, over wan0 packets above 1400 bytes vanish: that does not tell where the fault is. " +
				"The peer's address is 203.0.113.10 over wan0 and 203.0.113.99 over dsl0: these are different destinations.",
		},
	} {
		Conclude(tt.ways)
		if got := tt.ways[0].Comparison; got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}
