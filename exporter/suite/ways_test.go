package suite

import (
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
)

// TestOneWay: what is about another way than that of IKE is left out, and the original stays.
func TestOneWay(t *testing.T) {
	t.Parallel()
	f := &Findings{
		ICMP: &icmp.Result{State: icmp.Silent},
		IKE:  &ike.Results{IKE: ike.Result{State: ike.Responding}, NATT: ike.Result{State: ike.Silent}},
		PMTU: &pmtu.Snapshot{
			Results: []pmtu.Result{{Method: collectors.ICMP}, {Method: collectors.IKE}, {Method: collectors.NATT}},
			Reverse: pmtu.Reverse{State: search.BlackHole},
		},
		Fragments: &fragments.Results{Results: []fragments.Result{{Method: collectors.IKE}, {Method: collectors.NATT}}},
		Flows:     &flows.Results{Results: []flows.Result{{Method: collectors.ICMP}, {Method: collectors.IKE}, {Method: collectors.NATT}}},
		Protocols: &protocols.Results{Results: []protocols.Result{{Protocol: protocols.ICMP, Way: "wan0"}, {Protocol: protocols.UDP500}}},
	}
	for name, tt := range map[string]struct {
		apart            []collectors.Method
		echo, natt, back bool
		sizes, pieces    int
	}{
		"all together":    {nil, true, true, true, 3, 2},
		"echoes apart":    {[]collectors.Method{collectors.ICMP}, false, true, false, 2, 2},
		"port 4500 apart": {[]collectors.Method{collectors.NATT}, true, false, true, 2, 1},
	} {
		got := f.OneWay(tt.apart)
		if (got.ICMP != nil) != tt.echo || (got.IKE.NATT.State == ike.Silent) != tt.natt || got.IKE.IKE.State != ike.Responding ||
			(got.PMTU.Reverse.State == search.BlackHole) != tt.back || len(got.PMTU.Results) != tt.sizes ||
			len(got.Fragments.Results) != tt.pieces || len(got.Flows.Results) != tt.sizes || len(got.Protocols.Results) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if len(f.PMTU.Results) != 3 || len(f.Fragments.Results) != 2 || len(f.Protocols.Results) != 2 {
		t.Error("the findings themselves were changed")
	}
	if empty := (&Findings{}).OneWay([]collectors.Method{collectors.ICMP, collectors.NATT}); empty != (Findings{}) {
		t.Errorf("of nothing: %+v", empty)
	}
}
