package suite_test

import (
	"slices"
	"testing"

	"ipsec_path_exporter/exporter/suite"
)

func TestSet(t *testing.T) {
	s := suite.NewSet(suite.PMTU, suite.ICMP)
	if got := slices.Collect(s.All()); !slices.Equal(got, []suite.Collector{suite.ICMP, suite.PMTU}) || s.Has(suite.IKE) {
		t.Errorf("set is %v", got)
	}
	for c := range s.All() {
		if c != suite.ICMP {
			t.Errorf("iteration went on to %v", c)
		}
		break
	}
}
