package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteText writes reports for people at a terminal: a line for each measurement, and behind a fault what to tell the provider.
func WriteText(w io.Writer, reports []*Report) error {
	var b bytes.Buffer
	for _, ways := range byPeer(reports) {
		separate(&b)
		if len(ways) > 1 {
			compareText(&b, ways)
		}
		for i, r := range ways {
			if i > 0 {
				b.WriteByte('\n')
			}
			r.text(&b)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Lines are what was found, a label and a text each.
func (r *Report) Lines() (lines [][2]string) {
	add := func(label, text string) { lines = append(lines, [2]string{label, text}) }
	if r.ICMP != nil {
		add("ICMP echo", r.ICMP.Text())
	}
	for i := range r.IKE {
		add(fmt.Sprintf("IKE, UDP %d", r.IKE[i].Port), r.IKE[i].Text())
	}
	for i := range r.IKE {
		if f := r.IKE[i].Fragments; f != "" {
			add(fmt.Sprintf("fragments, %d", r.IKE[i].Port), because(f, r.IKE[i].FragmentsReason))
		}
	}
	for i := range r.MTU {
		add("path MTU, "+r.MTU[i].Method, r.MTU[i].Text())
	}
	for i := range r.Protocols {
		add("reach, "+r.Protocols[i].Protocol, r.Protocols[i].Text())
	}
	if b := r.Reverse; b != nil {
		add("way back", b.Text())
	}
	if t := r.Tunnel; t != nil {
		add("tunnel", fmt.Sprintf("MTU %d, TCP MSS %d recommended (%s, %s)", t.MTUBytes, t.MSSBytes, t.Cipher, encapsulations(t.Encapsulation)))
	}
	for i := range r.Gateways {
		add("gateway "+foreign(r.Gateways[i].Gateway), r.Gateways[i].Text())
	}
	for _, e := range r.Errors {
		add("not measured", e)
	}
	return lines
}

func (r *Report) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", r.title(), r.result())
	for _, l := range r.Lines() {
		fmt.Fprintf(w, "  %-16s %s\n", l[0], l[1])
	}
	for _, d := range r.Diagnoses {
		fmt.Fprintf(w, "\n  %s: %s\n", d.Name, d.Summary)
		for _, e := range d.Evidence {
			fmt.Fprintf(w, "    - %s\n", e)
		}
	}
	fmt.Fprintf(w, "\n  measured %s, took %.1f s\n", r.Started.Format(time.RFC3339), r.Seconds)
	if len(r.Diagnoses) == 0 {
		return
	}
	for _, section := range r.words() {
		section.text(w)
	}
}

func encapsulations(e string) string {
	if e == "udp" {
		return "ESP in UDP"
	}
	return "ESP"
}

// title names the peer, and its address if that is not its name.
func (r *Report) title() string {
	title := r.Peer
	if r.Address != "" && r.Address != r.Peer {
		title += " (" + r.Address + ")"
	}
	if r.Via != "" {
		title += " via " + r.Via
	}
	return title
}

func (r *Report) result() string {
	switch {
	case len(r.Diagnoses) > 0:
		names := make([]string, 0, len(r.Diagnoses))
		for _, d := range r.Diagnoses {
			names = append(names, d.Name)
		}
		return "FAULT " + strings.Join(names, ", ")
	case r.Healthy && len(r.Errors) > 0:
		return "no fault found, but not everything could be measured"
	case r.Healthy:
		return "no fault found"
	}
	return "unknown"
}

func milliseconds(s *float64) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(", %.1f ms", *s*1e3)
}

// because appends a reason, if there is one. One of several lines becomes one.
func because(s, reason string) string {
	if reason == "" {
		return s
	}
	return s + ": " + strings.ReplaceAll(reason, "\n", "; ")
}

func icmpNote(name, from string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; ICMP %s from %s", strings.ReplaceAll(name, "_", " "), from)
}

// Text is the result in one line.
func (r *ICMP) Text() string {
	s := because(r.State, r.Reason)
	if r.Sent > 0 {
		s += fmt.Sprintf(" (%d of %d answered%s)", r.Received, r.Sent, milliseconds(r.RoundTrip))
	}
	return s + icmpNote(r.Error, r.ErrorFrom)
}

// Text is the result in one line.
func (r *IKE) Text() string {
	s := because(r.State, r.Reason)
	if r.Reply != "" {
		s += fmt.Sprintf(": IKEv%d %s to %s%s", r.Version, r.Reply, r.Probe, milliseconds(r.RoundTrip))
	}
	return s + icmpNote(r.Error, r.ErrorFrom)
}

// Text is the result in one line.
func (m *MTU) Text() string {
	s := strings.ReplaceAll(m.State, "_", " ")
	if m.Bytes > 0 && m.State != "clean" {
		s = fmt.Sprintf("%d bytes, %s", m.Bytes, s)
		if m.State == "inconclusive" {
			s = "at least " + s
		}
	} else if m.Bytes > 0 {
		s = fmt.Sprintf("%d bytes, clean", m.Bytes)
	}
	s = because(s, m.Reason)
	if m.PTBFrom != "" {
		s += "; packet too big from " + m.PTBFrom
		if m.PTBMTU > 0 {
			s += " naming " + strconv.Itoa(m.PTBMTU)
		}
	}
	if where := m.where(); where != "" {
		s += "; larger ones vanish" + where
	}
	return s + fmt.Sprintf(" (%s, %.1f s)", m.packets(), m.Seconds)
}

func (m *MTU) packets() string {
	if m.Packets == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", m.Packets)
}

// Text is the result in one line.
func (p *Protocol) Text() string {
	s := because(p.State, p.Reason)
	if p.BlockedBy != "" {
		s += "; refused by " + p.BlockedBy
	}
	switch {
	case p.LastHop > 0 && p.Hops > 0:
		s += fmt.Sprintf(" (seen up to hop %d of %d)", p.LastHop, p.Hops)
	case p.LastHop > 0:
		s += fmt.Sprintf(" (seen up to hop %d)", p.LastHop)
	}
	return s
}

// Text is the result in one line.
func (b *Reverse) Text() string {
	s := strings.ReplaceAll(b.State, "_", " ")
	if bounds := b.bounds(); bounds != "" {
		s += ": " + bounds
	}
	return because(s, b.Reason)
}
