package exporter

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
)

// errorName names an ICMP error that came from an address.
func errorName(from netip.Addr, typ, code uint8) string {
	return icmp.ErrorName(from.Is6() && !from.Is4In6(), typ, code)
}

// writeText prints reports for people.
func writeText(w io.Writer, reports []*report) error {
	var b bytes.Buffer
	for i, r := range reports {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.text(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// line prints one aligned line of a report.
func line(w io.Writer, label, format string, args ...any) {
	fmt.Fprintf(w, "  %-16s %s\n", label, fmt.Sprintf(format, args...))
}

func (r *report) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", r.title(), r.result())
	if r.ICMP != nil {
		line(w, "ICMP echo", "%s", r.ICMP.text())
	}
	for i := range r.IKE {
		line(w, fmt.Sprintf("IKE, UDP %d", r.IKE[i].Port), "%s", r.IKE[i].text())
	}
	for i := range r.MTU {
		line(w, "path MTU, "+r.MTU[i].Method, "%s", r.MTU[i].text())
	}
	if t := r.Tunnel; t != nil {
		line(w, "tunnel", "MTU %d, TCP MSS %d recommended (%s, %s)", t.MTUBytes, t.MSSBytes, t.Cipher, encapsulations(t.Encapsulation))
	}
	for _, e := range r.Errors {
		line(w, "not measured", "%s", e)
	}
	for _, d := range r.Diagnoses {
		fmt.Fprintf(w, "\n  %s: %s\n", d.Name, d.Summary)
		for _, e := range d.Evidence {
			fmt.Fprintf(w, "    - %s\n", e)
		}
	}
	fmt.Fprintf(w, "\n  measured %s, took %.1f s\n", r.Started.Format(time.RFC3339), r.Seconds)
}

func encapsulations(e string) string {
	if e == "udp" {
		return "ESP in UDP"
	}
	return "ESP"
}

// title names the peer, and its address if that is not its name.
func (r *report) title() string {
	title := r.Peer
	if r.Address != "" && r.Address != r.Peer {
		title += " (" + r.Address + ")"
	}
	if r.Via != "" {
		title += " via " + r.Via
	}
	return title
}

func (r *report) result() string {
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

// because appends a reason, if there is one.
func because(s, reason string) string {
	if reason == "" {
		return s
	}
	return s + ": " + reason
}

func icmpNote(name, from string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; ICMP %s from %s", strings.ReplaceAll(name, "_", " "), from)
}

func (r *reportICMP) text() string {
	s := because(r.State, r.Reason)
	if r.Sent > 0 {
		s += fmt.Sprintf(" (%d of %d answered%s)", r.Received, r.Sent, milliseconds(r.RoundTrip))
	}
	return s + icmpNote(r.Error, r.ErrorFrom)
}

func (r *reportIKE) text() string {
	s := because(r.State, r.Reason)
	if r.Reply != "" {
		s += fmt.Sprintf(": IKEv%d %s to %s%s", r.Version, r.Reply, r.Probe, milliseconds(r.RoundTrip))
	}
	return s + icmpNote(r.Error, r.ErrorFrom)
}

func (r *reportMTU) text() string {
	s := strings.ReplaceAll(r.State, "_", " ")
	if r.Bytes > 0 && r.State != "clean" {
		s = fmt.Sprintf("%d bytes, %s", r.Bytes, s)
		if r.State == "inconclusive" {
			s = "at least " + s
		}
	} else if r.Bytes > 0 {
		s = fmt.Sprintf("%d bytes, clean", r.Bytes)
	}
	s = because(s, r.Reason)
	if r.PTBFrom != "" {
		s += "; packet too big from " + r.PTBFrom
		if r.PTBMTU > 0 {
			s += " naming " + strconv.Itoa(r.PTBMTU)
		}
	}
	packets := "packets"
	if r.Packets == 1 {
		packets = "packet"
	}
	return s + fmt.Sprintf(" (%d %s, %.1f s)", r.Packets, packets, r.Seconds)
}
