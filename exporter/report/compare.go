package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// phrase is a diagnosis in a few words, as in "over wan0 packets above 1400 bytes vanish".
func (r *Report) phrase(name string) string {
	v := r.values()
	switch name {
	case "peer_silent":
		return "nothing is answered"
	case "icmp_blocked":
		return "ICMP echo is not answered"
	case "pmtu_black_hole":
		if _, echo := v["echobytes"]; echo {
			return v.fill([]string{"echoes above {echobytes} bytes vanish"})[0]
		}
		return v.fill([]string{"packets above {bytes} bytes vanish", "large packets vanish"})[0]
	case "pmtu_black_hole_reverse":
		return "large packets vanish on the way back"
	case "fragments_dropped":
		return "IP fragments are dropped"
	case "udp500_blocked":
		return v.fill([]string{"UDP port {ike} is not answered"})[0]
	case "udp4500_blocked":
		return v.fill([]string{"UDP port {natt} is not answered"})[0]
	case "esp_blocked":
		return "ESP is filtered"
	case "ah_blocked":
		return "AH is filtered"
	}
	return "there is " + name
}

// byPath tells whether a diagnosis can only be about the way, and not about what the peer thinks of the address that asks.
func byPath(name string) bool {
	return slices.Contains([]string{"pmtu_black_hole", "pmtu_black_hole_reverse", "fragments_dropped", "esp_blocked", "ah_blocked"}, name)
}

// way names the way out of a report.
func (r *Report) way() string {
	if r.Via == "" {
		return "the default route"
	}
	return foreign(r.Via)
}

// verdict is what is known over one way, in a few words.
func (r *Report) verdict() string {
	switch {
	case len(r.Diagnoses) > 0:
		phrases := make([]string, len(r.Diagnoses))
		for i, d := range r.Diagnoses {
			phrases[i] = r.phrase(d.Name)
		}
		return and(phrases)
	case r.clean():
		return "everything that was tested passes"
	case r.Healthy:
		return "no fault was found, but not everything could be measured"
	}
	return "it could not be measured"
}

func (r *Report) clean() bool { return len(r.Diagnoses) == 0 && r.Healthy && len(r.Errors) == 0 }

// and joins words as in a sentence.
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// compare is what the same measurement over several ways shows, in a sentence or two.
func compare(ways []*Report) string {
	var clean, faulty, rest []*Report
	for _, r := range ways {
		switch {
		case len(r.Diagnoses) > 0:
			faulty = append(faulty, r)
		case r.clean():
			clean = append(clean, r)
		default:
			rest = append(rest, r)
		}
	}
	parts := make([]string, 0, len(ways))
	for _, group := range sameVerdict(slices.Concat(clean, faulty, rest)) {
		parts = append(parts, "over "+and(names(group))+" "+group[0].verdict())
	}
	sentence := strings.Join(parts, ", ")
	sentence = strings.ToUpper(sentence[:1]) + sentence[1:]
	switch {
	case len(clean) > 0 && len(faulty) > 0 && oneDestination(ways):
		sentence += ": " + blame(faulty)
	case len(faulty) == len(ways) && len(parts) == 1:
		sentence += ": the fault is on what these ways share, or at the peer"
	case len(faulty) > 0:
		sentence += ": that does not tell where the fault is"
	case len(rest) > 0:
		sentence += ": that compares nothing"
	}
	sentence += "."
	if sizes := pathMTUs(ways); sizes != "" && len(faulty) == 0 {
		sentence += " The path MTU differs: " + sizes + "."
	}
	return sentence + doubts(ways)
}

// oneDestination tells whether it was the same address over every way: a name can have several.
func oneDestination(ways []*Report) bool {
	return !slices.ContainsFunc(ways, func(r *Report) bool { return r.Address != ways[0].Address })
}

// blame says where the fault is, given that another way to the same peer is well.
func blame(faulty []*Report) string {
	onWay := !slices.ContainsFunc(faulty, func(r *Report) bool {
		return !slices.ContainsFunc(r.Diagnoses, func(d Diagnosis) bool { return byPath(d.Name) })
	})
	s := "the fault is on the way by " + and(names(faulty))
	if !onWay {
		s += ", unless the peer treats that source address differently"
	}
	return s
}

// sameVerdict groups ways over which the same is known.
func sameVerdict(ways []*Report) (groups [][]*Report) {
	for _, r := range ways {
		i := slices.IndexFunc(groups, func(g []*Report) bool { return g[0].verdict() == r.verdict() })
		if i < 0 {
			groups = append(groups, []*Report{r})
			continue
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

func names(ways []*Report) []string {
	out := make([]string, len(ways))
	for i, r := range ways {
		out[i] = r.way()
	}
	return out
}

// pathMTUs are the path MTUs over the ways where they are not the same.
func pathMTUs(ways []*Report) string {
	var parts []string
	differ := false
	for _, r := range ways {
		m := r.forward()
		if m == nil {
			return ""
		}
		differ = differ || m.Bytes != ways[0].forward().Bytes
		parts = append(parts, fmt.Sprintf("%d bytes over %s", m.Bytes, r.way()))
	}
	if !differ {
		return ""
	}
	return and(parts)
}

// doubts are reasons why the ways may not be what they seem, a sentence each with a space before it.
func doubts(ways []*Report) string {
	var s strings.Builder
	for i, r := range ways {
		for _, q := range ways[:i] {
			if r.Interface != "" && r.Interface == q.Interface {
				fmt.Fprintf(&s, " %s and %s both leave this host by %s: whether they are different ways is up to the routers behind it.",
					q.way(), r.way(), foreign(r.Interface))
			}
			if r.Address != "" && q.Address != "" && r.Address != q.Address {
				fmt.Fprintf(&s, " The peer's address is %s over %s and %s over %s: these are different destinations.", q.Address, q.way(), r.Address, r.way())
			}
		}
	}
	return s.String()
}

// sideBySide is the same measurement over several ways as a table.
func sideBySide(ways []*Report) [][]string {
	table := [][]string{append([]string{""}, names(ways)...)}
	row := func(label string, cell func(*Report) string) {
		cells, any := []string{label}, false
		for _, r := range ways {
			c := cell(r)
			any = any || c != ""
			if c == "" {
				c = "-"
			}
			cells = append(cells, c)
		}
		if any {
			table = append(table, cells)
		}
	}
	row("result", (*Report).outcome)
	row("from", func(r *Report) string {
		if r.Interface == "" || r.Source == "" {
			return r.Source
		}
		return r.Source + " by " + foreign(r.Interface)
	})
	row("ICMP echo", func(r *Report) string {
		if r.ICMP == nil {
			return ""
		}
		return r.ICMP.State + milliseconds(r.ICMP.RoundTrip)
	})
	for _, method := range []string{"ike", "natt"} {
		row(fmt.Sprintf("UDP %d", ways[0].port(method, map[string]uint16{"ike": 500, "natt": 4500}[method])), func(r *Report) string {
			i := slices.IndexFunc(r.IKE, func(i IKE) bool { return i.Method == method })
			if i < 0 {
				return ""
			}
			return r.IKE[i].State + milliseconds(r.IKE[i].RoundTrip)
		})
	}
	for _, method := range []string{"icmp", "ike", "natt"} {
		row("path MTU, "+method, func(r *Report) string { return r.mtuCell(method) })
	}
	row("fragments", (*Report).fragmentsCell)
	for _, name := range []string{"esp", "ah"} {
		row(strings.ToUpper(name), func(r *Report) string {
			if p := r.protocol(name); p != nil {
				return p.State
			}
			return ""
		})
	}
	row("way back", func(r *Report) string {
		if r.Reverse == nil {
			return ""
		}
		return strings.ReplaceAll(r.Reverse.State, "_", " ")
	})
	return table
}

// outcome is the result in the words of the table.
func (r *Report) outcome() string {
	if len(r.Diagnoses) > 0 {
		return r.result()
	}
	if r.Healthy {
		return "no fault found"
	}
	return "unknown"
}

func (r *Report) mtuCell(method string) string {
	i := slices.IndexFunc(r.MTU, func(m MTU) bool { return m.Method == method })
	if i < 0 {
		return ""
	}
	state := strings.ReplaceAll(r.MTU[i].State, "_", " ")
	if r.MTU[i].rank() < 0 {
		return state
	}
	return fmt.Sprintf("%d %s", r.MTU[i].Bytes, state)
}

func (r *Report) fragmentsCell() string {
	var parts []string
	for i := range r.IKE {
		if f := r.IKE[i].Fragments; f != "" {
			parts = append(parts, fmt.Sprintf("%s (%d)", f, r.IKE[i].Port))
		}
	}
	return strings.Join(parts, ", ")
}

// compareText writes a comparison for a terminal.
func compareText(w io.Writer, ways []*Report) {
	wrap(w, foreign(ways[0].Peer)+": ", "  ", ways[0].Comparison)
	fmt.Fprintln(w)
	grid(w, "  ", sideBySide(ways))
	fmt.Fprintln(w)
}
