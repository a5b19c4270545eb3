package report

import (
	"testing"

	"ipsec_path_exporter/collectors/pmtu/search"
)

func TestCompare(t *testing.T) {
	lte := func() *Report { return over(well(t), "lte0", "100.64.3.2") }
	wan := func(change func(*Report), names ...string) *Report {
		return over(faulty(t, change, names...), "wan0", "198.51.100.7")
	}
	nothing := func(*Report) {}
	unmeasured := &Report{Peer: "hq", Via: "wan0", Errors: []string{"network is unreachable"}}
	partly := lte()
	partly.Errors = []string{"no raw sockets"}
	small := lte()
	small.PMTU.Results[1].State, small.PMTU.Results[1].Bytes = search.Reduced, 1492
	recommend(t, small)
	sameDevice := func(r *Report) *Report { r.Interface = "eth0"; return r }
	elsewhere := over(well(t), "dsl0", "192.0.2.8")
	elsewhere.Address = addr("203.0.113.99")
	for _, tt := range []struct {
		name string
		ways []*Report
		want string
	}{
		{"all well", []*Report{lte(), over(well(t), "dsl0", "192.0.2.8")}, "Via lte0 and dsl0 all tests pass."},
		{
			"all well, different sizes",
			[]*Report{small, over(well(t), "dsl0", "192.0.2.8")},
			"Via lte0 and dsl0 all tests pass. The path MTU differs: 1492 bytes via lte0 and 1500 bytes via dsl0.",
		},
		{
			"one has a black hole",
			[]*Report{wan(ikeHole, "pmtu_black_hole"), lte()},
			"Via lte0 all tests pass, via wan0 packets above 1400 bytes vanish: the fault is on the path via wan0.",
		},
		{
			"a filter that may be the peer's own",
			[]*Report{lte(), wan(nothing, "udp500_blocked")},
			"Via lte0 all tests pass, via wan0 UDP port 500 is not answered: the fault is on the path via wan0, " +
				"unless the peer treats that source address differently.",
		},
		{
			"the same fault over both",
			[]*Report{wan(ikeHole, "pmtu_black_hole"), over(faulty(t, ikeHole, "pmtu_black_hole"), "lte0", "100.64.3.2")},
			"Via wan0 and lte0 packets above 1400 bytes vanish: the fault is on a part that these paths share, or at the peer.",
		},
		{
			"faults of their own",
			[]*Report{wan(ikeHole, "pmtu_black_hole"), over(faulty(t, nothing, "icmp_blocked"), "lte0", "100.64.3.2")},
			"Via wan0 packets above 1400 bytes vanish, via lte0 ICMP echo is not answered: this does not locate the fault.",
		},
		{
			"one could not be measured",
			[]*Report{lte(), unmeasured},
			"Via lte0 all tests pass, via wan0 nothing could be measured: this allows no comparison.",
		},
		{
			"one was measured in part: no witness",
			[]*Report{wan(ikeHole, "pmtu_black_hole"), partly},
			"Via wan0 packets above 1400 bytes vanish, via lte0 no fault was found, but not everything could be measured: this does not locate the fault.",
		},
		{
			"the same device",
			[]*Report{sameDevice(lte()), sameDevice(over(well(t), "192.0.2.8", "192.0.2.8"))},
			"Via lte0 and 192.0.2.8 all tests pass. lte0 and 192.0.2.8 both leave this host by eth0: " +
				"whether their paths differ depends on the routers behind it.",
		},
		{
			"different destinations",
			[]*Report{lte(), elsewhere},
			"Via lte0 and dsl0 all tests pass. The peer's address is 203.0.113.10 via lte0 and 203.0.113.99 via dsl0: " +
				"these are different destinations.",
		},
		{
			"a fault at another destination",
			[]*Report{wan(ikeHole, "pmtu_black_hole"), elsewhere},
			"Via dsl0 all tests pass, via wan0 packets above 1400 bytes vanish: this does not locate the fault. " +
				"The peer's address is 203.0.113.10 via wan0 and 203.0.113.99 via dsl0: these are different destinations.",
		},
	} {
		documents, err := conclude(tt.ways)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range documents {
			if d.Comparison != tt.want {
				t.Errorf("%s:\n got %s\nwant %s", tt.name, d.Comparison, tt.want)
			}
		}
	}
}
