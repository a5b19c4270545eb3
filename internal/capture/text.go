package capture

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// clockDigits is the precision of a clock difference: the directions of a path differ too.
const clockDigits = 100 * time.Microsecond

// maxShown is how many pairs and negotiations are printed for people; JSON has all.
const maxShown = 20

// WriteText prints the report for people: conclusions, then counts, then the evidence.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.result())
	for i := range r.Findings {
		f := &r.Findings[i]
		what := "note"
		if f.Fault {
			what = "FAULT"
		}
		fmt.Fprintf(&b, "\n[%d] %s %s%s\n    %s\n", i+1, what, f.Name, direction(f.Src, f.Dst), sentence(f.Summary))
		if f.Advice != "" {
			fmt.Fprintf(&b, "    %s\n", sentence(f.Advice))
		}
	}
	for _, a := range r.Captures {
		a.text(&b)
	}
	if r.Comparison != nil && r.Comparison.Common > 0 {
		r.Comparison.text(&b)
	}
	r.evidence(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (r *Report) result() string {
	var names []string
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Fault && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	switch {
	case len(names) > 0:
		return "FAULT " + strings.Join(names, ", ")
	}
	related := false
	for _, a := range r.Captures {
		if a.Damage != "" {
			return "no fault found in the readable part"
		}
		related = related || a.empty() == ""
	}
	if related {
		return "no fault found"
	}
	return "no VPN packet found"
}

func (r *Report) evidence(w io.Writer) {
	title := "\nevidence\n"
	for i := range r.Findings {
		for _, e := range r.Findings[i].Evidence {
			fmt.Fprintf(w, "%s  [%d] %s\n", title, i+1, e)
			title = ""
		}
	}
}

func direction(src, dst netip.Addr) string {
	if !src.IsValid() {
		return ""
	}
	return fmt.Sprintf(", %s -> %s", src, dst)
}

// sentence ends with a full stop.
func sentence(s string) string { return strings.TrimSuffix(s, ".") + "." }

func (a *Analysis) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s: frames: %d (%s), of a VPN: %d", a.Name, a.Frames, strings.Join(slices.Concat(a.Links, a.Tunnels), ", "), a.Related)
	if a.Frames > 0 {
		fmt.Fprintf(w, ", %s, %.1f s", a.First.Format(timeFormat), a.Last.Sub(a.First).Seconds())
	}
	fmt.Fprintln(w)
	if a.Damage != "" {
		fmt.Fprintf(w, "  damaged; the rest could not be read: %s\n", a.Damage)
	}
	for _, line := range []struct {
		n    int
		text string
	}{
		{a.Cut, "packets captured in part only"},
		{a.Unreadable, "frames with an unreadable IP header"},
		{a.NotIP, "frames that are not IP"},
		{a.unread(), "frames of links that cannot be read"},
		{a.Doubled, "copies of frames, not counted"},
	} {
		if line.n > 0 {
			fmt.Fprintf(w, "  %d %s\n", line.n, line.text)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(a.Forgotten)) {
		fmt.Fprintf(w, "  no room for %d more %s\n", a.Forgotten[what], what)
	}
	for _, p := range a.Pairs[:min(len(a.Pairs), maxShown)] {
		p.text(w)
	}
	more(w, len(a.Pairs), "pairs of addresses")
	for _, n := range a.Negotiations[:min(len(a.Negotiations), maxShown)] {
		n.text(w)
	}
	more(w, len(a.Negotiations), "negotiations")
}

func more(w io.Writer, n int, what string) {
	if n > maxShown {
		fmt.Fprintf(w, "  and %d more %s (--output=json has all)\n", n-maxShown, what)
	}
}

// text prints what both did, and leaves out what neither did.
func (p *Pair) text(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "  %s (A) and %s (B)\n", p.A, p.B)
	fmt.Fprintf(t, "    \tA to B\tB to A\t\n")
	f, b := &p.Forward, &p.Back
	for _, line := range []struct {
		name        string
		there, back int
	}{
		{"IKE on UDP 500", f.IKE, b.IKE},
		{"IKE on UDP 4500", f.NATT, b.NATT},
		{"IKE messages", f.Messages, b.Messages},
		{"IKE packets retransmitted", f.Retransmissions, b.Retransmissions},
		{"IKE fragments (RFC 7383, Cisco)", f.IKEFragments, b.IKEFragments},
		{"ESP", f.ESP, b.ESP},
		{"ESP in UDP", f.ESPinUDP, b.ESPinUDP},
		{"AH", f.AH, b.AH},
		{"of these with ESP inside", f.ESPinAH, b.ESPinAH},
		{"WESP", f.WESP, b.WESP},
		{"IKE or ESP over TCP", f.TCP, b.TCP},
		{"NAT keepalives", f.Keepalives, b.Keepalives},
		{"other on UDP 500 or 4500", f.Other, b.Other},
		{"first fragments", f.FirstFragments, b.FirstFragments},
		{"later fragments", f.LaterFragments, b.LaterFragments},
		{"fragmented, all arrived", f.Whole, b.Whole},
		{"fragmented, rest missing", f.Incomplete, b.Incomplete},
		{"fragmented, first missing", f.Headless, b.Headless},
		{"fragmented, undecided at the end", f.Undecided, b.Undecided},
		{"ICMP errors about it", f.errorCount(), b.errorCount()},
	} {
		if line.there+line.back > 0 {
			fmt.Fprintf(t, "    %s\t%d\t%d\t\n", line.name, line.there, line.back)
		}
	}
	_ = t.Flush() // it writes to memory
	for _, d := range []struct {
		name string
		of   *Direction
	}{{"A to B", f}, {"B to A", b}} {
		for _, s := range d.of.SPIs[:min(len(d.of.SPIs), maxShown)] {
			fmt.Fprintf(w, "    %s, %s SPI %s: %s, sequence numbers %d to %d\n", d.name, s.Protocol, s.SPI, packets(s.Packets), s.FirstSeq, s.LastSeq)
		}
		for _, e := range d.of.Errors[:min(len(d.of.Errors), maxShown)] {
			mtu := ""
			if e.MTU > 0 {
				mtu = fmt.Sprintf(", MTU %d", e.MTU)
			}
			fmt.Fprintf(w, "    %s, ICMP %s from %s about %s%s: %s\n", d.name, strings.ReplaceAll(e.Name, "_", " "), e.From, e.About, mtu, times(e.Count))
		}
	}
}

func (t *Direction) errorCount() (n int) {
	for _, e := range t.Errors {
		n += e.Count
	}
	return n
}

func (n *Negotiation) text(w io.Writer) {
	fmt.Fprintf(w, "  IKEv%d %s, %s -> %s: ", n.Version, n.InitiatorSPI, n.Initiator, n.Responder)
	switch {
	case n.Established:
		fmt.Fprint(w, "established")
	case n.Refused != "":
		fmt.Fprintf(w, "refused with %s", n.Refused)
	case n.Stage == stageDeleted:
		fmt.Fprint(w, "deleted at once")
	default:
		fmt.Fprintf(w, "stopped at %s", cmp.Or(n.Stage, "an exchange of an earlier SA"))
	}
	if n.Probe {
		fmt.Fprint(w, ", a probe of ipsec_path_exporter")
	}
	if len(n.Retries) > 0 {
		fmt.Fprintf(w, ", first request asked for again with %s", strings.Join(n.Retries, ", "))
	}
	for i, e := range n.Exchanges {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		fmt.Fprintf(w, "%s%s %d/%d", sep, e.Name, e.FromInitiator, e.FromResponder)
		if e.Retransmissions > 0 {
			fmt.Fprintf(w, ", %d retransmitted", e.Retransmissions)
		}
	}
	fmt.Fprintln(w, ")")
}

func (c *Comparison) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s and %s: %d datagrams in both, %.1f s in common\n", c.A, c.B, c.Common, c.To.Sub(c.From).Seconds())
	how := ", by packets of both directions"
	if !c.Exact {
		how = ", by packets of one direction, so including their transit time"
	}
	ahead := time.Duration(c.ClockOffset * float64(time.Second)).Round(clockDigits)
	fmt.Fprintf(w, "  the clock of %s is %v ahead%s\n", c.B, ahead, how)
	for _, at := range slices.Sorted(maps.Keys(c.Translated)) {
		fmt.Fprintf(w, "  NAT: %s of %s is %s in %s\n", c.Translated[at], c.A, at, c.B)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "    \tsent\tarrived\tin part\tnot\t\n")
	for _, d := range c.Directions {
		fmt.Fprintf(t, "    %s -> %s\t%d\t%d\t%d\t%d\t\n", d.Src, d.Dst, d.Sent, d.Whole, d.Part, d.Lost)
		for _, k := range d.Kinds {
			fmt.Fprintf(t, "    %s\t%d\t%d\t%d\t%d\t\n", k.Kind, k.Sent, k.Sent-k.Part-k.Lost, k.Part, k.Lost)
		}
	}
	_ = t.Flush() // it writes to memory
}
