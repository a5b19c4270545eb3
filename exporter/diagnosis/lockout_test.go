package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
)

func TestLockout(t *testing.T) {
	before := start.Add(-time.Hour)
	ignoring := func(requests int) ike.Result {
		return ike.Result{
			State: ike.Responding, At: start, Sent: requests + 1, Form: ikeprobe.V2Major3, Reply: "INVALID_MAJOR_VERSION",
			BadKESilent: true, BadKESent: requests, Loss: collectors.Sample{Sent: 10, Since: before},
		}
	}
	ignored := ignoring(3)
	answered := ike.Result{State: ike.Responding, At: start, Sent: 1, Form: ikeprobe.V2BadKE, Reply: "INVALID_KE_PAYLOAD"}
	undated, unasked, v1, gone := ignored, ignored, ignored, ignored
	undated.At = time.Time{}
	unasked.BadKESilent, unasked.BadKESent = false, 0
	v1.Form, gone.State = ikeprobe.V1Main, ike.Unknown
	never := [methods]time.Time{}
	once, other := [methods]time.Time{udp500: before}, [methods]time.Time{udp4500: before}
	for name, tt := range map[string]struct {
		ike, natt ike.Result
		offers    [methods]time.Time
		want      State
	}{
		"unknown":                               {want: Undecided},
		"answered":                              {answered, answered, once, Absent},
		"ignored":                               {ignored, ignored, once, Holds},
		"ignored on the one that is known":      {ike.Result{}, ignored, other, Holds},
		"one lost request":                      {ignoring(1), ike.Result{}, once, Undecided},
		"one lost request on both":              {ignoring(1), ignoring(1), once, Undecided},
		"no request":                            {ignoring(0), ike.Result{}, once, Undecided},
		"ignored on one, answered on the other": {ignored, answered, once, Absent},
		"never answered: a responder that answers wrong versions only": {ignored, ignored, never, Undecided},
		"answered before on the other port":                            {ignored, ike.Result{}, other, Holds},
		"hardly asked":                                                 {ignoring(2), ike.Result{}, once, Undecided},
		"hardly asked on one":                                          {ignoring(2), ignored, once, Holds},
		"undated":                                                      {undated, ike.Result{}, once, Undecided},
		"only the wrong version was asked":                             {unasked, ike.Result{}, once, Undecided},
		"answered by IKEv1":                                            {v1, ike.Result{}, once, Undecided},
		"not known any more":                                           {gone, ike.Result{}, once, Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Memory: Memory{lastOffer: tt.offers}}
			f.IKE = &ike.Results{IKE: tt.ike, NATT: tt.natt}
			if got := verdictOn(t, f, IKELockout, "").State; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	f := Facts{Memory: Memory{lastOffer: once}}
	f.IKE = &ike.Results{IKE: ignored}
	want := []string{
		"ike: IKE_SA_INIT is not answered (3 requests), a wrong major version is, with INVALID_MAJOR_VERSION",
		"IKE_SA_INIT was last answered at 2026-01-02T02:04:05Z",
	}
	if diff := cmp.Diff(want, verdictOn(t, f, IKELockout, "").Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}

// TestLockoutUnderLoss: three requests in a row are lost soon on a path with heavy loss.
func TestLockoutUnderLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		echo     icmp.State
		lost     int // of sent
		sent     int
		ike      collectors.Sample
		requests int
		want     State
	}{
		"few lost":                                {icmp.Reachable, 1, 20, collectors.Sample{}, 3, Holds},
		"many lost":                               {icmp.Reachable, 12, 20, collectors.Sample{}, 3, Undecided},
		"many lost, and far more ignored":         {icmp.Reachable, 12, 20, collectors.Sample{}, 14, Holds},
		"many lost, the last three all":           {icmp.Silent, 12, 20, collectors.Sample{}, 3, Undecided},
		"the loss is not known yet":               {icmp.Reachable, 0, 0, collectors.Sample{}, 3, Undecided},
		"the loss is not known, and more ignored": {icmp.Reachable, 0, 0, collectors.Sample{}, 5, Holds},
		"echo is filtered":                        {icmp.Silent, 20, 20, collectors.Sample{Sent: 10}, 3, Holds},
		"echo is filtered, and much of IKE lost":  {icmp.Silent, 20, 20, collectors.Sample{Sent: 10, Lost: 5}, 3, Undecided},
		"echo is filtered, nothing is known yet":  {icmp.Silent, 20, 20, collectors.Sample{}, 3, Undecided},
	} {
		f := Facts{Memory: Memory{lastOffer: [methods]time.Time{udp500: ago(3600)}}}
		f.ICMP = &icmp.Result{State: tt.echo, At: start, Since: start, Sent: 20, Loss: collectors.Sample{Sent: tt.sent, Lost: tt.lost}}
		f.IKE = &ike.Results{IKE: ike.Result{
			State: ike.Responding, At: start, Form: ikeprobe.V2Major3, Reply: "INVALID_MAJOR_VERSION", BadKESilent: true, BadKESent: tt.requests,
			Loss: tt.ike,
		}}
		if got := verdictOn(t, f, IKELockout, "").State; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
