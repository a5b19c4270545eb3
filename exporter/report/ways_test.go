package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
)

// TestDifferentWays: the report says which results are about another way than that of IKE.
func TestDifferentWays(t *testing.T) {
	t.Parallel()
	r := &Report{Peer: "hq", Ways: []Way{
		{Method: collectors.IKE, By: "wan1 via 192.0.2.1"},
		{Method: collectors.NATT, By: "wan1 via 192.0.2.1"},
		{Method: collectors.ICMP, By: "wan0", Apart: true},
	}}
	r.PMTU = &pmtu.Snapshot{Reverse: pmtu.Reverse{State: search.Clean, LowerBytes: 1500, At: time.Unix(1, 0)}}
	r.Protocols = &protocols.Results{Distance: 9, Results: []protocols.Result{
		{Protocol: protocols.ICMP, State: protocols.Passes, LastHop: 3, Way: "wan0", Distance: 3},
	}}
	want := map[string]string{
		"ways": "probes and IKE leave by different ways (policy routing): ike by wan1 via 192.0.2.1, natt by wan1 via 192.0.2.1, " +
			"icmp by wan0; results of icmp are about another path and support no diagnosis",
		"reverse path": "clean: 1500 bytes come back, for replies to echoes by wan0",
		"reach, icmp":  "passes (seen up to hop 3 of 3), leaving by wan0",
	}
	for _, l := range r.Lines() {
		if text, ok := want[l.Label]; ok && l.Text == text {
			delete(want, l.Label)
		} else if ok {
			t.Errorf("%s: %s", l.Label, l.Text)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	var b bytes.Buffer
	if err := Formats()["json"].Write(&b, []*Report{r}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`"method": "icmp"`, `"way": "wan0"`, `"apart": true`, `"hops": 3`} {
		if !strings.Contains(b.String(), s) {
			t.Errorf("no %s in %s", s, b.String())
		}
	}
}
