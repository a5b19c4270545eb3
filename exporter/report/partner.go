package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// partnered is about what the exporter at the other end has counted, one direction beside the other.
func partnered(r *Report) []entry {
	p := r.Partner
	if p == nil || p.At.IsZero() {
		return nil
	}
	e := entry{
		label: "partner", text: because(words(p.State.String()), p.Reason), at: p.At, row: "partner", cell: words(p.State.String()),
		test: "partner " + p.To.String(), sent: fmt.Sprintf("%d STAMP requests", p.Sent), received: fmt.Sprintf("%d replies", p.Received) + milliseconds(p.RoundTrip),
	}
	if !p.Up() {
		e.shows = "nothing about the path: " + p.Reason
		e.unknown, e.why = "what arrives in each direction", p.Reason
		return []entry{e}
	}
	there, back := directionText(&p.There), directionText(&p.Back)
	if p.OneWay {
		there = lossText(p.Counts.LostThere, p.Counts.ReorderedThere, p.Counts.DuplicatesThere) + there
		back = lossText(p.Counts.LostBack, p.Counts.ReorderedBack, p.Counts.DuplicatesBack) + back
	} else {
		e.unknown, e.why = "in which direction packets are lost", "the reflector does not count what it receives"
	}
	there, back = cmp.Or(strings.TrimPrefix(there, ", "), nothingMore), cmp.Or(strings.TrimPrefix(back, ", "), nothingMore)
	e.shows = "there: " + there + "; back: " + back
	if p.OneWay {
		e.shows = fmt.Sprintf("of %d packets, %s", p.Counts.Sent, e.shows)
	}
	return []entry{
		e,
		{label: "to the partner", text: there},
		{label: "from the partner", text: back},
	}
}

// nothingMore stands for a direction of which nothing is known.
const nothingMore = "nothing is known of this direction"

// lossText says what was lost in one direction.
func lossText(lost, reordered, duplicates uint64) string {
	text := fmt.Sprintf("%d lost", lost)
	if reordered > 0 {
		text += fmt.Sprintf(", %d reordered", reordered)
	}
	if duplicates > 0 {
		text += fmt.Sprintf(", %d duplicated", duplicates)
	}
	return text
}

// directionText says what a round shows of one direction, after a comma.
func directionText(d *partner.Direction) (text string) {
	if d.DelayKnown {
		text += fmt.Sprintf(", delay %.1f ms (clocks agree within %.1f ms)", millis(d.Delay), millis(d.Error))
	}
	if d.Varies {
		text += fmt.Sprintf(", delay varies by %.1f ms", millis(d.Variation))
	}
	switch {
	case d.MTU.Known() && d.MTU.State == search.Clean:
		text += fmt.Sprintf(", path MTU %d bytes, as the link", d.MTU.Bytes)
	case d.MTU.Known():
		text += fmt.Sprintf(", path MTU %d bytes", d.MTU.Bytes)
	}
	switch d.Fragments {
	case partner.FragmentsPass:
		text += ", fragments pass"
	case partner.FragmentsDropped:
		text += ", fragments are dropped"
	case partner.FragmentsUnknown:
	}
	switch {
	case d.Marked && d.DSCP == d.Sent:
		text += fmt.Sprintf(", DSCP %d arrives", d.Sent)
	case d.Marked:
		text += fmt.Sprintf(", DSCP %d arrives as %d", d.Sent, d.DSCP)
	}
	return text
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

// jsonPartner is what the exporter at the other end shows of each direction.
type jsonPartner struct {
	// State is a value of the label reason of partner_state.
	State     string               `json:"state"`
	Reason    string               `json:"reason,omitempty"`
	Address   netip.AddrPort       `json:"address"`
	Sent      int                  `json:"sent"`
	Received  int                  `json:"received"`
	RoundTrip *float64             `json:"round_trip_seconds"`
	Forward   jsonPartnerDirection `json:"forward"`
	Reverse   jsonPartnerDirection `json:"reverse"`
}

// jsonPartnerDirection is one direction. Lost, Reordered and Duplicates are counted since the partner
// is known; they are null where it does not count.
type jsonPartnerDirection struct {
	Lost       *uint64 `json:"lost"`
	Reordered  *uint64 `json:"reordered"`
	Duplicates *uint64 `json:"duplicates"`
	// Delay is null unless both clocks are synchronized; Error is how much it may be wrong.
	Delay        *float64 `json:"delay_seconds"`
	Error        *float64 `json:"delay_error_seconds,omitempty"`
	Variation    *float64 `json:"delay_variation_seconds"`
	DSCPSent     *uint8   `json:"dscp_sent"`
	DSCPReceived *uint8   `json:"dscp_received"`
	// MTUBytes is the path MTU of this direction alone, null if it is not known.
	MTUBytes *int `json:"mtu_bytes"`
	// Fragments is pass, dropped or unknown.
	Fragments string `json:"fragments"`
}

func jsonOfPartner(r *partner.Result) *jsonPartner {
	if r == nil || r.At.IsZero() {
		return nil
	}
	out := &jsonPartner{
		State: r.State.String(), Reason: r.Reason, Address: r.To, Sent: r.Sent, Received: r.Received, RoundTrip: seconds(r.RoundTrip),
		Forward: jsonOfDirection(&r.There), Reverse: jsonOfDirection(&r.Back),
	}
	if r.OneWay {
		c := r.Counts
		out.Forward.Lost, out.Forward.Reordered, out.Forward.Duplicates = &c.LostThere, &c.ReorderedThere, &c.DuplicatesThere
		out.Reverse.Lost, out.Reverse.Reordered, out.Reverse.Duplicates = &c.LostBack, &c.ReorderedBack, &c.DuplicatesBack
	}
	return out
}

func jsonOfDirection(d *partner.Direction) (out jsonPartnerDirection) {
	out.Fragments = d.Fragments.String()
	if d.DelayKnown {
		out.Delay, out.Error = new(d.Delay.Seconds()), new(d.Error.Seconds())
	}
	if d.Varies {
		out.Variation = new(d.Variation.Seconds())
	}
	if d.Marked {
		out.DSCPSent, out.DSCPReceived = new(d.Sent), new(d.DSCP)
	}
	if d.MTU.Known() {
		out.MTUBytes = new(d.MTU.Bytes)
	}
	return out
}
