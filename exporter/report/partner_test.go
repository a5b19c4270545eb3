package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/session"
)

// counted is what a partner shows of a path with another fault in each direction.
func counted() *partner.Result {
	return &partner.Result{
		State: partner.Up, To: netip.MustParseAddrPort("203.0.113.10:10862"), Sent: 10, Received: 9, RoundTrip: 12 * time.Millisecond, At: measured,
		OneWay: true, Counts: session.Counts{Sent: 300, Received: 280, LostThere: 5, LostBack: 15, ReorderedBack: 2, DuplicatesThere: 1},
		There: partner.Direction{
			Variation: time.Millisecond, Varies: true, Delay: 8 * time.Millisecond, Error: 2 * time.Millisecond, DelayKnown: true,
			Marked: true, Sent: 10, MTU: partner.MTU{State: search.BlackHole, Bytes: 1400},
		},
		Back: partner.Direction{Marked: true, Sent: 10, DSCP: 10, MTU: partner.MTU{State: search.Inconclusive, Bytes: 1300}, Fragments: partner.FragmentsDropped},
	}
}

func TestPartner(t *testing.T) {
	r := well(t)
	r.Partner = counted()
	var text, form bytes.Buffer
	if err := Formats()["text"].Write(&text, []*Report{r}); err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"to the partner 5 lost, 1 duplicated, delay 8.0 ms (clocks agree within 2.0 ms), delay varies by 1.0 ms, path MTU 1400 bytes, DSCP 10 arrives as 0",
		"from the partner 15 lost, 2 reordered, fragments are dropped, DSCP 10 arrives",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(flat, "1300") {
		t.Errorf("a path MTU that is not known is shown:\n%s", text.String())
	}
	if err := WriteJSON(&form, []*Report{r}); err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Partner struct {
			State            string
			Forward, Reverse map[string]any
		}
	}
	if err := json.Unmarshal(form.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	p := got[0].Partner
	for key, want := range map[string]any{"lost": 5.0, "mtu_bytes": 1400.0, "dscp_received": 0.0, "delay_seconds": 0.008, "duplicates": 1.0} {
		if p.Forward[key] != want {
			t.Errorf("forward %s = %v, want %v", key, p.Forward[key], want)
		}
	}
	for key, want := range map[string]any{"lost": 15.0, "mtu_bytes": nil, "dscp_received": 10.0, "delay_seconds": nil, "reordered": 2.0, "fragments": "dropped"} {
		if p.Reverse[key] != want {
			t.Errorf("reverse %s = %v, want %v", key, p.Reverse[key], want)
		}
	}
}

// TestPartnerWithoutResults: a state is shown with its reason, and nothing of the path.
func TestPartnerWithoutResults(t *testing.T) {
	for name, tt := range map[string]struct {
		result partner.Result
		want   string
	}{
		"silent":       {partner.Result{State: partner.Silent, Reason: "nothing comes back", Sent: 10, At: measured}, "nothing about the path: nothing comes back"},
		"not measured": {partner.Result{}, ""},
		"without directions": {
			partner.Result{State: partner.Up, Sent: 10, Received: 10, At: measured, There: partner.Direction{Varies: true}},
			"there: delay varies by 0.0 ms; back: nothing is known of this direction",
		},
	} {
		r := well(t)
		r.Partner = &tt.result
		entries := partnered(r)
		if (len(entries) > 0) != (tt.want != "") || len(entries) > 0 && entries[0].shows != tt.want {
			t.Errorf("%s: %+v", name, entries)
		}
	}
}
