package diagnosis

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProtocols(t *testing.T) {
	base := Passage{
		State: Blocked, Measured: start, LastHop: 2, LastRouter: netip.MustParseAddr("198.51.100.2"), FirstMissing: 3, Tries: 3,
		Witness: UDP500, WitnessHop: 5, Hops: 5,
	}
	router := netip.MustParseAddr("198.51.100.3")
	traffic := func(in uint64) Traffic { return Traffic{From: start, To: start.Add(time.Minute), In: in, Out: 50} }
	gateway := func(e Encapsulation, in uint64) []Gateway {
		return []Gateway{{Name: "hub", Measured: start, Encapsulation: e, Traffic: traffic(in)}}
	}
	for name, tt := range map[string]struct {
		change   func(*Passage)
		gateways []Gateway
		want     State // of esp_blocked
		ah       State // of ah_blocked, of which no gateway knows
	}{
		"another protocol gets further":           {func(*Passage) {}, nil, Holds, Holds},
		"no router answers for it at all":         {func(r *Passage) { r.LastHop, r.FirstMissing = 0, 1 }, nil, Holds, Holds},
		"distance unknown":                        {func(r *Passage) { r.Hops = 0 }, nil, Holds, Holds},
		"tries not counted":                       {func(r *Passage) { r.Tries = 0 }, nil, Holds, Holds},
		"too few tries":                           {func(r *Passage) { r.Tries = 2 }, nil, Undecided, Undecided},
		"only the peer itself is silent":          {func(r *Passage) { r.LastHop, r.FirstMissing = 4, 5 }, nil, Undecided, Undecided},
		"the other gets no further":               {func(r *Passage) { r.WitnessHop = 2 }, nil, Undecided, Undecided},
		"there is no other":                       {func(r *Passage) { r.WitnessHop, r.FirstMissing = 0, 0 }, nil, Undecided, Undecided},
		"a later hop answered":                    {func(r *Passage) { r.LastHop = 4 }, nil, Undecided, Undecided},
		"a router says so":                        {func(r *Passage) { *r = Passage{State: Blocked, Measured: start, BlockedBy: router} }, nil, Holds, Holds},
		"passes":                                  {func(r *Passage) { r.State = Passes }, nil, Absent, Absent},
		"unknown":                                 {func(r *Passage) { r.State = PassageUnknown }, nil, Undecided, Undecided},
		"undated":                                 {func(r *Passage) { r.Measured = time.Time{} }, nil, Undecided, Undecided},
		"a gateway receives ESP":                  {func(*Passage) {}, gateway(Bare, 7), Absent, Holds},
		"a gateway receives nothing":              {func(*Passage) {}, gateway(Bare, 0), Holds, Holds},
		"a gateway receives it in UDP":            {func(*Passage) {}, gateway(InUDP, 7), Holds, Holds},
		"a gateway receives it, nobody knows how": {func(*Passage) {}, gateway(EncapsulationUnknown, 7), Undecided, Holds},
		"two gateways, one knows how": {
			func(*Passage) {}, append(gateway(EncapsulationUnknown, 7), gateway(Bare, 7)...), Absent, Holds,
		},
		"two gateways, the first knows how": {
			func(*Passage) {}, append(gateway(Bare, 7), gateway(EncapsulationUnknown, 7)...), Absent, Holds,
		},
		"nothing probed, a gateway receives": {func(r *Passage) { *r = Passage{} }, gateway(Bare, 7), Undecided, Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			r := base
			tt.change(&r)
			got := states(Evaluate(Facts{Passages: [protocols]Passage{ESP: r, AH: r}, Gateways: tt.gateways}))
			if got[ESPBlocked] != tt.want || got[AHBlocked] != tt.ah {
				t.Errorf("esp %v, want %v; ah %v, want %v", got[ESPBlocked], tt.want, got[AHBlocked], tt.ah)
			}
		})
	}
	base.BlockedBy = router
	v := (&Facts{Passages: [protocols]Passage{AH: base}}).protocolBlocked(AHBlocked, AH)
	want := []string{
		"IP protocol 51 (ah) is blocked on the way to the peer, other packets get further.",
		"ah: answered up to hop 2 of 5, 198.51.100.2",
		"ah: 198.51.100.3 says that it is administratively prohibited",
		"ah: hop 3 does not answer for it (3 packets), but does for udp500, which gets to hop 5",
	}
	if diff := cmp.Diff(want, append([]string{v.Summary}, v.Evidence...)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
