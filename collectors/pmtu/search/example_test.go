package search_test

import (
	"fmt"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors/pmtu/search"
)

// A path of 1400 bytes behind a link of 1500, with a router that reports its limit.
func ExampleSearch() {
	s := search.New(search.Config{Control: 36, Link: 1500, Minimum: 68})
	for now := time.Duration(0); ; now += time.Second {
		round, ok := s.Next()
		if !ok {
			break
		}
		fmt.Println("send", round.Sizes)
		var seen []search.Observation
		for _, size := range round.Sizes {
			o := search.Observation{Size: size, At: now, Outcome: search.Acked, RoundTrip: 20 * time.Millisecond}
			if size > 1400 {
				o.Outcome, o.MTU, o.From = search.TooBig, 1400, netip.MustParseAddr("198.51.100.1")
			}
			seen = append(seen, o)
		}
		s.Observe(now, seen)
	}
	v := s.Verdict()
	fmt.Println(v.State, v.Bytes, "of", v.Link, "by", v.PTB.From)
	// Output:
	// send [1500]
	// send [1400 1401]
	// reduced 1400 of 1500 by 198.51.100.1
}
