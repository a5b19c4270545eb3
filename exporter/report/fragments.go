package report

import (
	"fmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
)

// fragmented is about IKE messages in IP fragments.
func fragmented(r *Report) (out []entry) {
	if r.IKE == nil {
		return nil
	}
	for _, m := range collectors.IKEMethods() {
		port := r.Port(m)
		unknown := fmt.Sprintf("whether IP fragments of UDP port %d pass", port)
		if r.Fragments == nil {
			out = append(out, entry{unknown: unknown, why: notTested})
			continue
		}
		f := r.Fragments.Of(m)
		out = append(out, fragmentsOf(port, unknown, &f))
	}
	return out
}

func fragmentsOf(port uint16, unknown string, f *fragments.Result) entry {
	e := entry{
		label: fmt.Sprintf("fragments, %d", port), text: because(f.State.String(), f.Reason),
		at:  f.At,
		row: "fragments", cell: fmt.Sprintf("%s (%d)", f.State, port),
		test: fmt.Sprintf("fragments, UDP port %d", port), sent: "IKE messages in IP fragments, and unanswered messages again unfragmented",
	}
	if tested := chains(f); tested != "" && (f.Long != fragments.Pass || f.LastFirst != fragments.Pass) {
		e.text += " (" + tested + ")"
	}
	switch f.State {
	case fragments.Pass:
		e.received, e.shows = "a reply to a fragmented message", "IP fragments reach the peer, and the peer reassembles them"
		if tested := chains(f); tested != "" {
			e.shows += "; " + tested
		}
	case fragments.Dropped:
		e.received, e.shows = "replies to unfragmented messages only", "IP fragments are dropped on the path to the peer, or by the peer"
	case fragments.Unknown:
		e.received, e.shows, e.unknown, e.why = "unknown", noConclusion(f.Reason), unknown, f.Reason
	}
	return e
}

// chains is about chains of more than two fragments and the order of fragments, empty if untested.
func chains(f *fragments.Result) string {
	if f.LongSize == 0 {
		return ""
	}
	text := "two fragments"
	if f.LastFirst == fragments.Pass {
		text += ", in either order"
	}
	long := fmt.Sprintf("%d bytes in %d fragments", f.LongSize, f.LongPieces)
	switch f.Long {
	case fragments.Pass:
		text += ", " + long
	case fragments.Dropped:
		text += "; chains of three fragments are dropped"
	case fragments.Unknown:
		text += "; " + because(long+": no answer", f.LongReason)
	}
	if f.LastFirst == fragments.Dropped {
		text += "; fragments in reverse order are dropped"
	}
	return text
}
