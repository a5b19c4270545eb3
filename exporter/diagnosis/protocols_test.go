package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/protocols"
)

func TestProtocols(t *testing.T) {
	gateway := func(inUDP gateways.Answer, in uint64) Gateway {
		return watched("UUU", 30*time.Second, start, counting(in, 50), func(_ *Gateway, o *gateways.Observation) { o.NATT = inUDP })
	}
	nothing := func(*protocols.Results, *protocols.Result) {}
	for name, tt := range map[string]struct {
		change   func(*protocols.Results, *protocols.Result)
		gateways []Gateway
		want     State // of esp_blocked
		ah       State // of ah_blocked, of which no gateway knows
	}{
		"another protocol gets further": {nothing, nil, Holds, Holds},
		"no router answers for it at all": {
			func(_ *protocols.Results, r *protocols.Result) { r.LastHop, r.FirstMissed = 0, hop(1) }, nil, Holds, Holds,
		},
		"distance unknown": {func(all *protocols.Results, _ *protocols.Result) { all.Distance = 0 }, nil, Holds, Holds},
		"never tried":      {func(_ *protocols.Results, r *protocols.Result) { r.Tries = 0 }, nil, Undecided, Undecided},
		"too few tries":    {func(_ *protocols.Results, r *protocols.Result) { r.Tries = 2 }, nil, Undecided, Undecided},
		"only the peer itself is silent": {
			func(_ *protocols.Results, r *protocols.Result) { r.LastHop, r.FirstMissed = 4, hop(5) }, nil, Undecided, Undecided,
		},
		"the other gets no further": {func(_ *protocols.Results, r *protocols.Result) { r.WitnessHop = 2 }, nil, Undecided, Undecided},
		"there is no other": {
			func(_ *protocols.Results, r *protocols.Result) {
				*r = protocols.Result{Protocol: r.Protocol, State: protocols.Blocked, LastHop: 2, Tries: 3}
			}, nil, Undecided, Undecided,
		},
		"the other is ESP in UDP": {func(_ *protocols.Results, r *protocols.Result) { r.Witness = protocols.ESPInUDP }, nil, Undecided, Undecided},
		"the router is not among the hops": {
			func(_ *protocols.Results, r *protocols.Result) { r.FirstMissed = hop(9) }, nil, Undecided, Undecided,
		},
		"a later hop answered": {func(_ *protocols.Results, r *protocols.Result) { r.LastHop = 4 }, nil, Undecided, Undecided},
		"a router says so": {
			func(_ *protocols.Results, r *protocols.Result) {
				*r = protocols.Result{Protocol: r.Protocol, State: protocols.Blocked, BlockedBy: hop(3)}
			}, nil, Holds, Holds,
		},
		"passes":                                {func(_ *protocols.Results, r *protocols.Result) { r.State = protocols.Passes }, nil, Absent, Absent},
		"unknown":                               {func(_ *protocols.Results, r *protocols.Result) { r.State = protocols.Unknown }, nil, Undecided, Undecided},
		"undated":                               {func(all *protocols.Results, _ *protocols.Result) { all.At = time.Time{} }, nil, Undecided, Undecided},
		"a gateway receives ESP":                {nothing, []Gateway{gateway(gateways.No, 7)}, Absent, Holds},
		"a gateway receives nothing":            {nothing, []Gateway{gateway(gateways.No, 0)}, Holds, Holds},
		"a gateway receives it in UDP":          {nothing, []Gateway{gateway(gateways.Yes, 7)}, Holds, Holds},
		"a gateway receives it, how is unknown": {nothing, []Gateway{gateway(gateways.Unknown, 7)}, Undecided, Holds},
		"two gateways, one knows how":           {nothing, []Gateway{gateway(gateways.Unknown, 7), gateway(gateways.No, 7)}, Absent, Holds},
		"two gateways, the first knows how":     {nothing, []Gateway{gateway(gateways.No, 7), gateway(gateways.Unknown, 7)}, Absent, Holds},
		"nothing probed, a gateway receives":    {func(all *protocols.Results, _ *protocols.Result) { *all = protocols.Results{At: start} }, []Gateway{gateway(gateways.No, 7)}, Undecided, Undecided},
		"not measured, a gateway receives":      {nil, []Gateway{gateway(gateways.No, 7)}, Undecided, Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Gateways: tt.gateways}
			if tt.change != nil {
				f.Protocols = climbed(overtaken(protocols.ESP), overtaken(protocols.AH))
				for i := range 2 {
					if len(f.Protocols.Results) > 0 {
						tt.change(f.Protocols, &f.Protocols.Results[i])
					}
				}
			}
			got := states(Evaluate(f))
			if got[ESPBlocked] != tt.want || got[AHBlocked] != tt.ah {
				t.Errorf("esp %v, want %v; ah %v, want %v", got[ESPBlocked], tt.want, got[AHBlocked], tt.ah)
			}
		})
	}
	base := overtaken(protocols.AH)
	base.BlockedBy, base.Error = hop(3), "admin_prohibited"
	f := Facts{}
	f.Protocols = climbed(base)
	v := verdictOn(t, f, AHBlocked, "")
	want := []string{
		"IP protocol 51 (ah) is blocked on the path to the peer, other packets get further.",
		"ah: answered up to hop 2 of 5, 198.51.100.2",
		"ah: 198.51.100.3 reports that it refuses it (ICMP admin_prohibited)",
		"ah: hop 3 does not answer for it (3 packets), but does for udp500, which gets to hop 5",
	}
	if diff := cmp.Diff(want, append([]string{v.Summary}, v.Evidence...)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
