package diagnosis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLockout(t *testing.T) {
	before := start.Add(-time.Hour)
	ignored := Offer{State: OfferIgnored, Measured: start, Sent: 3, Reply: "INVALID_MAJOR_VERSION", LastAnswer: before}
	answered := Offer{State: OfferAnswered, Measured: start, Sent: 1, LastAnswer: start}
	never, hardly, undated, uncounted := ignored, ignored, ignored, ignored
	never.LastAnswer, hardly.Sent, undated.Measured, uncounted.Sent = time.Time{}, 2, time.Time{}, 0
	for name, tt := range map[string]struct {
		ike, natt Offer
		want      State
	}{
		"unknown":                               {want: Undecided},
		"answered":                              {answered, answered, Absent},
		"ignored":                               {ignored, ignored, Holds},
		"ignored on the one that is known":      {Offer{}, ignored, Holds},
		"ignored, not counted":                  {uncounted, Offer{}, Holds},
		"ignored on one, answered on the other": {ignored, answered, Absent},
		"never answered: a responder that answers wrong versions only": {never, never, Undecided},
		"answered before on the other port":                            {never, Offer{LastAnswer: before}, Holds},
		"hardly asked":                                                 {hardly, Offer{}, Undecided},
		"hardly asked on one":                                          {hardly, ignored, Holds},
		"undated":                                                      {undated, Offer{}, Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Offers: [methods]Offer{ike: tt.ike, natt: tt.natt}}
			v := f.ikeLockout()
			if v.State != tt.want {
				t.Errorf("%v, want %v", v.State, tt.want)
			}
		})
	}
	f := Facts{Offers: [methods]Offer{ike: ignored}}
	want := []string{
		"ike: IKE_SA_INIT is not answered (3 requests), a wrong major version is, with INVALID_MAJOR_VERSION",
		"IKE_SA_INIT was last answered at 2026-01-02T02:04:05Z",
	}
	v := f.ikeLockout()
	if diff := cmp.Diff(want, v.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}
