package capture_test

import (
	"net/netip"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/internal/capture"
)

// exported compares what is printed.
var exported = cmp.Options{
	cmpopts.IgnoreUnexported(capture.Analysis{}, capture.Direction{}, capture.ICMPError{}, capture.Negotiation{}, capture.Exchange{}, capture.Crossing{}),
	cmpopts.IgnoreFields(capture.Analysis{}, "Links"),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}
